"""Directions side by side with two peers on the same texts: cosines by layer; exit code 1 where a target is missed.

make peers
python benchmarks/peers/directions.py --model FOLDER --cache .peers

Each peer runs in an environment of its own, made here on the first run, on the same weights (float32) and texts. Our
`pca_diff` and `pca_center` are held against repeng's, our mean difference against steering-vectors'.

An axis has no sign of its own. repeng lets the majority of the pairs choose it, we the class means; where the two
disagree (our `vote_share` below one half) ours is turned before it is compared, and the table says so.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steersman as sm
from steersman.activations import Activations
from steersman.maths.geometry import cosine
from steersman.methods import METHODS
from steersman.model.builtin import default_folder
from steersman.model.encode import text_tokens
from steersman.recording import record

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
PEERS = {
    "repeng": ["repeng==0.4.0", "transformers==5.23.0"],
    "steering-vectors": ["steering-vectors==0.12.2", "transformers==4.57.6"],
}
SCRIPTS = {"repeng": "run_repeng.py", "steering-vectors": "run_steering_vectors.py"}
COMPARISONS = [
    ("pca_diff", "repeng", "pca_diff", 0.999),
    ("pca_center", "repeng", "pca_center", 0.999),
    ("mean_difference", "steering-vectors", "mean", 0.9999),
]
"""Our method, the peer, its method, the least cosine at every layer."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="default, or a folder")
    parser.add_argument("--pairs", type=int, default=96, help="how many of the built-in refusal pairs")
    parser.add_argument("--cache", type=Path, default=Path(".peers"), help="where the environments are made")
    arguments = parser.parse_args()
    model = sm.load(arguments.model, dtype="float32")
    folder = default_folder() if arguments.model == "default" else Path(arguments.model)
    texts, acts = recorded(model, arguments.pairs)
    ours = fitted(model, acts)
    spelled = [(spell(model, positive), spell(model, negative)) for positive, negative in texts]
    peers = {name: run_peer(name, folder, spelled, arguments.cache.resolve()) for name in PEERS}
    expected = [text_tokens(model, text) for both in texts for text in both]
    for name, found in peers.items():
        if json.loads(str(found["tokens"])) != expected:
            print(f"{name} reads other tokens than we do: the vectors cannot be compared", file=sys.stderr)
            return 1
    rows = compare(ours, peers, model.depth)
    report = {"model": model.name, "pairs": len(texts), "rows": rows, "summary": summary(rows)}
    path = arguments.cache / "directions.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report)
    print(path)
    return 0 if all(row["met"] for row in report["summary"]) else 1


def recorded(model: sm.Model, count: int) -> tuple[list[tuple[str, str]], Activations]:
    """Return the texts and the activations of each text's last token."""
    items = sm.pairs("refusal", split=None)[:count]
    texts = [plain_texts(item) for item in items]
    plain = [
        sm.Pair(item.id, sm.Example("", positive), sm.Example("", negative))
        for item, (positive, negative) in zip(items, texts, strict=True)
    ]
    return texts, record(model, plain, span="last")


def plain_texts(item: sm.Pair) -> tuple[str, str]:
    positive, negative = (f"{side.prompt}\n{side.completion}" for side in (item.positive, item.negative))
    return positive, negative


def spell(model: sm.Model, text: str) -> str:
    """Return the text so that the tokenizer, left to itself, begins it as we do: with beginning-of-sequence."""
    own = model.tokenizer(text)["input_ids"]
    return text if own == text_tokens(model, text) else model.tokenizer.bos_token + text


def fitted(model: sm.Model, acts: Activations) -> dict[str, dict[str, sm.Direction]]:
    """Return our directions by method and layer; `N*` is layer N with the final norm applied to its activations.

    repeng takes the last layer from `hidden_states[-1]`, which is what the final norm made of the block's output.
    """
    top = acts.sites[-1]
    norm = next(module for module in model.layout.base.children() if "norm" in type(module).__name__.lower())
    with torch.no_grad():
        normed = Activations(
            {top: norm(acts.positive[top])}, {top: norm(acts.negative[top])}, {top: acts.norms[top]}, acts.origin
        )
    found: dict[str, dict[str, sm.Direction]] = {}
    for ours, *_ in COMPARISONS:
        method = METHODS[ours]()
        direction = method.fit(acts)
        found[ours] = {str(site.layer): direction.at(site) for site in direction.sites}
        found[ours][f"{top.layer}*"] = method.fit(normed)
    return found


def compare(
    ours: dict[str, dict[str, sm.Direction]], peers: dict[str, dict[str, np.ndarray]], depth: int
) -> list[dict[str, Any]]:
    """Return one row per comparison and layer."""
    rows: list[dict[str, Any]] = []
    for method, peer, theirs, target in COMPARISONS:
        for layer in [*map(str, range(depth)), f"{depth - 1}*"]:
            direction = ours[method][layer]
            (site,) = direction.sites
            # repeng's top layer is after the final norm, steering-vectors' is the block's output.
            counts = layer != (str(depth - 1) if peer == "repeng" else f"{depth - 1}*")
            vote = direction.diagnostics["vote_share"][site]
            turned = peer == "repeng" and vote < 0.5
            their = torch.from_numpy(peers[peer][f"{theirs}.{layer.rstrip('*')}"])
            rows.append(
                {
                    "ours": method,
                    "peer": peer,
                    "layer": layer,
                    "cosine": cosine(direction.vectors[site], their) * (-1 if turned else 1),
                    "turned": turned,
                    "vote_share": vote,
                    "target": target if counts else None,
                }
            )
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each comparison the smallest cosine among the layers that count."""
    result: list[dict[str, Any]] = []
    for method, peer, _, target in COMPARISONS:
        counted = [row for row in rows if row["ours"] == method and row["target"] is not None]
        least = min(counted, key=lambda row: row["cosine"])
        result.append(
            {
                "ours": method,
                "peer": peer,
                "layers": len(counted),
                "least": least["cosine"],
                "at": least["layer"],
                "target": target,
                "met": least["cosine"] >= target,
            }
        )
    return result


def show(report: dict[str, Any]) -> None:
    print(f"{report['model']}, {report['pairs']} pairs, last token, float32; cosine of our vector and the peer's")
    print("layer  " + "  ".join(f"{ours:>15s}" for ours, *_ in COMPARISONS))
    by_place = {(row["layer"], row["ours"]): row for row in report["rows"]}
    for layer in dict.fromkeys(row["layer"] for row in report["rows"]):
        cells = [by_place[layer, ours] for ours, *_ in COMPARISONS]
        print(
            f"{layer:>5s}  "
            + "  ".join(
                f"{cell['cosine']:13.7f}{'~' if cell['turned'] else ' '}{' ' if cell['target'] else '-'}"
                for cell in cells
            ).rstrip()
        )
    print("* our activations after the model's final norm, which is where repeng reads its top layer; - not counted")
    print("~ turned: fewer than half of the pairs vote for the sign that the class means give")
    for row in report["summary"]:
        print(
            f"{row['ours']:16s} {row['peer']:17s} least {row['least']:.7f} at layer {row['at']} of {row['layers']}, "
            f"target {row['target']}: {'met' if row['met'] else 'MISSED'}"
        )


def run_peer(name: str, folder: Path, texts: list[tuple[str, str]], cache: Path) -> dict[str, np.ndarray]:
    """Return what the peer's script wrote, run in the peer's environment."""
    python = environment(name, cache)
    asked, answer = cache / f"{name}.json", cache / f"{name}.npz"
    asked.write_text(json.dumps(texts), encoding="utf-8")
    subprocess.run(
        [python, HERE / SCRIPTS[name], folder, asked, answer],
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONNOUSERSITE": "1"},
    )
    with np.load(answer) as found:
        return dict(found)


def environment(name: str, cache: Path) -> Path:
    """Return the peer's python, in an environment made once; torch first and by its exact version."""
    place = cache / name
    python = place / "bin" / "python"
    wanted = "\n".join([TORCH, *PEERS[name]])
    marker = place / "installed.txt"
    if marker.is_file() and marker.read_text() == wanted:
        return python
    print(f"making an environment for {name} in {place}", file=sys.stderr)
    venv.create(place, with_pip=True, clear=True)
    (cache / ".gitignore").write_text("*\n")
    for requirements in ([TORCH], [TORCH, *PEERS[name]]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    marker.write_text(wanted)
    return python


if __name__ == "__main__":
    sys.exit(main())
