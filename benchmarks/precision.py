"""Does bfloat16 say the same as float32: directions by cosine, headline rates paired, on the default model.

python benchmarks/precision.py                   some minutes on a CPU
python benchmarks/precision.py --limit 20 --json

The same pairs, prompts and coefficient in both; the coefficient is in units of the residual norm. Rates are of built-in
test prompts, unsteered and steered. A difference counts as none where its 95 % interval holds 0.
"""

import argparse
import json
from typing import Any

import steersman as sm
from steersman.evaluation import evaluate
from steersman.maths.geometry import cosine
from steersman.maths.statistics import paired_rate_difference, wilson
from steersman.model.generate import Sampling
from steersman.prompts import prompt_set, questions
from steersman.tasks import CompletionTask, KnowledgeTask, Setting

DTYPES = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--coefficient", type=float, default=0.4)
    parser.add_argument("--limit", type=int, default=60, help="prompts of each kind")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directions, outcomes = {}, {}
    for dtype in DTYPES:
        model = sm.load(arguments.model, dtype=dtype)
        directions[dtype] = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal"), opening_tokens=8))
        outcomes[dtype] = measured(model, directions[dtype], arguments.coefficient, arguments.limit)
    both = [directions[dtype] for dtype in DTYPES]
    cosines = {str(site): cosine(both[0].vectors[site], both[1].vectors[site]) for site in both[0].sites}
    rows = [compared(name, outcomes) for name in outcomes["float32"]]
    if arguments.json:
        print(json.dumps({"model": arguments.model, "cosines": cosines, "rates": rows}, indent=1))
        return
    least = min(cosines, key=lambda site: cosines[site])
    print(f"directions of {len(cosines)} sites: least cosine {cosines[least]:.5f} at {least}")
    for row in rows:
        said = "none to be seen" if row["agrees"] else "DIFFERS"
        print(
            f"{row['what']:40s} n = {row['n']:3d}   "
            f"float32 {shown(row['float32'])}   bfloat16 {shown(row['bfloat16'])}   "
            f"difference {shown(row['difference'], signed=True)}: {said}"
        )


def measured(model: sm.Model, direction: sm.Direction, coefficient: float, limit: int) -> dict[str, list[float]]:
    """Return each headline's values, item by item, in the items' order."""
    layer = model.depth // 2
    settings = [
        Setting("unsteered"),
        Setting("steered", sm.Plan(direction.at(layer), coefficient=coefficient), coefficient=coefficient),
    ]
    sampling = Sampling(max_new_tokens=32)
    tasks = [
        CompletionTask("harmful", prompt_set("harmful", split="test")[:limit], sampling),
        CompletionTask("ordinary", prompt_set("ordinary", split="test")[:limit], sampling),
        KnowledgeTask(questions(split="test")[:limit], scoring=("text",)),
    ]
    report = evaluate(model, tasks, settings)
    found = {}
    for each in report.measured:
        metric = "accuracy_text" if each.task.name == "knowledge" else "refusal_rate"
        found[f"{each.task.name}, {metric}, {each.setting.arm}"] = [one.metrics[metric] for one in each.outcomes]
    return found


def compared(what: str, outcomes: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    one, other = (outcomes[dtype][what] for dtype in DTYPES)
    difference = paired_rate_difference(other, one)
    rates = {dtype: wilson(int(sum(values)), len(values)) for dtype, values in zip(DTYPES, (one, other), strict=True)}
    told = {name: [each.value, each.low, each.high] for name, each in (rates | {"difference": difference}).items()}
    return {"what": what, "n": len(one), "agrees": difference.low <= 0 <= difference.high} | told


def shown(values: list[float], *, signed: bool = False) -> str:
    value, low, high = (f"{100 * each:{'+' if signed else ''}.1f}" for each in values)
    return f"{value} % ({low} to {high})"


if __name__ == "__main__":
    main()
