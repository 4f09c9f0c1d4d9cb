"""A baked folder must mean the same to transformers 4.57: logits and tokens against the steered model in this version.

make parity                                          makes .peers/transformers457 at the first run (some minutes)
python benchmarks/parity/transformers_457.py --json --drop rope_theta     a word left out of config.json: must fail

Exit code 1 when a logit differs by more than the tolerance, a text is cut into other tokens, or steering moved nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from environments import provide

import steersman as sm
from steersman.edits import Ablate
from steersman.exchange.baking import bake

ENVIRONMENT = "transformers457"
REQUIREMENTS = ("torch==2.13.0", "transformers==4.57.6", "numpy")
TOLERANCE = 1e-3
"""Largest difference of a logit, of some 20."""
TEXTS = ("How do I bake bread?", "x  12 + 345 = ?", "Écrivez trois mots : naïve, œuf, 日本.", "def f(n):\n    return n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--drop", default="", help="leave a word out of config.json, to see the check fail")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    python = provide(ENVIRONMENT, REQUIREMENTS)
    torch.set_num_threads(arguments.threads)
    model = sm.load(arguments.model, dtype="float32", device="cpu")
    direction = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal")[:8])).at(model.depth // 2)
    plans = {
        "addition as a bias": sm.Plan(direction, coefficient=0.4),
        "ablation as weights": sm.Plan(direction.everywhere(), Ablate()),
    }
    rows = [list(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    table = []
    for name, plan in plans.items():
        with tempfile.TemporaryDirectory() as folder:
            bake(model, plan, Path(folder) / "baked")
            left_out(Path(folder) / "baked" / "config.json", arguments.drop)
            table.append(compare(model, plan, rows, Path(folder), python, arguments.threads) | {"plan": name})
    passed = all(row["ok"] for row in table)
    if arguments.json:
        print(json.dumps({"model": model.name, "tolerance": TOLERANCE, "passed": passed, "rows": table}))
    else:
        print(
            f"{model.name}, float32: steered under transformers {transformers.__version__} against baked under 4.57.6"
        )
        for row in table:
            print(
                f"{row['plan']:20s} max |difference| {row['max_difference']:.2e} of logits moved by "
                f"{row['moved_by_steering']:.2f}; tokens {'alike' if row['same_tokens'] else 'DIFFER'}"
            )
        print(f"{'passed' if passed else 'FAILED'}: tolerance {TOLERANCE:g} (logits)")
    return 0 if passed else 1


def left_out(config: Path, word: str) -> None:
    if word:
        values = json.loads(config.read_text())
        values.pop(word)
        config.write_text(json.dumps(values))


def compare(
    model: sm.Model, plan: sm.Plan, rows: list[list[int]], folder: Path, python: Path, threads: int
) -> dict[str, object]:
    request = {"folder": str(folder / "baked"), "texts": TEXTS, "rows": rows, "threads": threads}
    (folder / "request.json").write_text(json.dumps(request))
    worker = Path(__file__).with_name("transformers_worker.py")
    subprocess.run(
        [python, "-P", worker, folder / "request.json", folder / "answer.npz"],
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    theirs = np.load(folder / "answer.npz")
    steered, plain = (np.array([logits(model, row, each) for row in rows]) for each in (plan, sm.Plan()))
    largest, effect = float(np.abs(theirs["logits"] - steered).max()), float(np.abs(steered - plain).max())
    same = json.loads(str(theirs["tokens"])) == rows
    return {
        "max_difference": largest,
        "moved_by_steering": effect,
        "same_tokens": same,
        "ok": largest <= TOLERANCE and effect > 1 and same,
    }


@torch.inference_mode()
def logits(model: sm.Model, row: list[int], plan: sm.Plan) -> np.ndarray:
    with sm.steer(model, plan):
        return model.hf(torch.tensor([row])).logits[0, -1].numpy()


if __name__ == "__main__":
    sys.exit(main())
