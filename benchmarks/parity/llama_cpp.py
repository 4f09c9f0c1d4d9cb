"""Steering must mean the same in another engine: next-token logits of steersman against llama.cpp, float32 in both.

make parity                                    the default model; makes .peers/llama at the first run (10 to 15 minutes
                                               where the package has to be compiled)
python benchmarks/parity/llama_cpp.py --json --shift 1     the same with every layer misplaced by one: must fail

Both get the same token ids. The model is written as a float32 GGUF, llama.cpp keeps its KV cache in float32 and its
flash attention off. Exit code 1 when a logit differs by more than the tolerance, or when steering moved
none.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import float32_gguf
import numpy as np
import torch
from environments import provide

import steersman as sm
from steersman.exchange.gguf import export_gguf
from steersman.model.encode import prompt_tokens

ENVIRONMENT = "llama"
REQUIREMENTS = ("llama-cpp-python==0.3.36",)
TOLERANCE = 1e-3
"""Largest difference of a logit; float32 sums of another order differ by some 1e-5 to 1e-4 of logits around 20."""
COEFFICIENT = 0.6
"""Of the residual norm: text falls apart at about half of it, so every logit moves far."""
PROMPTS = (
    "How do I bake bread?",
    "Write a poem about the sea.",
    "What is the capital of France?",
    "Explain photosynthesis to a child.",
    "2, 3, 5, 7, 11, 13,",
    "def fibonacci(n):",
    "Please translate 'good morning' into Spanish.",
    "Tell me how to pick a lock.",
    "The weather in Reykjavik in January is",
    "Give me three names for a cat and say why each of them fits. Keep it under fifty words, and be kind.",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="of the Llama architecture")
    parser.add_argument("--coefficient", type=float, default=COEFFICIENT, help="fraction of the residual norm")
    parser.add_argument("--shift", type=int, default=0, help="misplace the layers in the file, to see the check fail")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    python = provide(ENVIRONMENT, REQUIREMENTS)
    torch.set_num_threads(arguments.threads)
    model = sm.load(arguments.model, dtype="float32", device="cpu")
    rows = [prompt_tokens(model, prompt) for prompt in PROMPTS]
    with tempfile.TemporaryDirectory() as folder:
        measured = compare(model, rows, Path(folder), python, arguments)
    passed = all(row["ok"] for row in measured)
    if arguments.json:
        print(json.dumps({"model": model.name, "tolerance": TOLERANCE, "passed": passed, "rows": measured}))
    else:
        show(model, measured, passed)
    return 0 if passed else 1


def compare(
    model: sm.Model, rows: list[list[int]], folder: Path, python: Path, arguments: argparse.Namespace
) -> list[dict[str, object]]:
    direction = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal")[:8]))
    settings = {"unsteered": []} | {f"layer {layer}": [layer] for layer in (1, model.depth // 2, model.depth - 1)}
    settings["three layers"] = [1, model.depth // 2, model.depth - 1]
    ours, files = [], []
    for name, layers in settings.items():
        strength = arguments.coefficient / (len(layers) or 1)
        plan = sm.Plan(direction.at(*layers), coefficient=strength) if layers else sm.Plan()
        ours.append(logits(model, rows, plan))
        files.append(None)
        if layers:
            placed = direction.at(*layers)
            if arguments.shift:
                placed = shifted(placed, arguments.shift)
            files[-1] = str(folder / f"{name}.gguf")
            export_gguf(placed, files[-1], coefficient=strength, hint="llama")
    weights = float32_gguf.write(model, folder / "model.gguf")
    request = {"model": str(weights), "rows": rows, "vectors": files, "threads": arguments.threads}
    (folder / "request.json").write_text(json.dumps(request))
    worker = Path(__file__).with_name("llama_cpp_worker.py")
    # Without -P the worker would import this very file, which is called like the package.
    subprocess.run([python, "-P", worker, folder / "request.json", folder / "answer.npy"], check=True)
    theirs = np.load(folder / "answer.npy")
    table = []
    for index, name in enumerate(settings):
        difference = np.abs(ours[index] - theirs[index])
        effect = float(np.abs(ours[index] - ours[0]).max())
        same = int((ours[index].argmax(-1) == theirs[index].argmax(-1)).sum())
        largest = float(difference.max())
        table.append(
            {
                "setting": name,
                "prompts": len(rows),
                "max_difference": largest,
                "mean_difference": float(difference.mean()),
                "same_next_token": same,
                "moved_by_steering": effect,
                "ok": largest <= TOLERANCE and (effect > 1 or index == 0),
            }
        )
    return table


def shifted(direction: sm.Direction, places: int) -> sm.Direction:
    """Return the direction with its vectors at other layers, each as long in the file as it was."""
    vectors, norms = {}, {}
    for site in direction.sites:
        layer = site.layer + places if 1 <= site.layer + places < direction.origin.depth else site.layer - places
        vectors[sm.Site(layer)], norms[sm.Site(layer)] = direction.vectors[site], direction.norms[site]
    return sm.Direction(vectors, norms, direction.origin, direction.method)


@torch.inference_mode()
def logits(model: sm.Model, rows: list[list[int]], plan: sm.Plan) -> np.ndarray:
    """Return `[rows, vocabulary]` next-token logits, row by row."""
    found = []
    for row in rows:
        with sm.steer(model, plan):
            found.append(model.hf(torch.tensor([row])).logits[0, -1].numpy())
    return np.array(found)


def show(model: sm.Model, measured: list[dict[str, object]], passed: bool) -> None:
    print(f"{model.name}, float32, {len(PROMPTS)} prompts: steersman against llama.cpp ({REQUIREMENTS[0]})")
    print(f"{'setting':14s} {'max |difference|':>17s} {'mean':>9s} {'same next token':>16s} {'moved by steering':>18s}")
    for row in measured:
        print(
            f"{row['setting']:14s} {row['max_difference']:17.2e} {row['mean_difference']:9.1e} "
            f"{row['same_next_token']:>13}/{row['prompts']} {row['moved_by_steering']:18.2f}"
            f"{'' if row['ok'] else '   MISSED'}"
        )
    print(f"{'passed' if passed else 'FAILED'}: tolerance {TOLERANCE:g} (logits)")


if __name__ == "__main__":
    sys.exit(main())
