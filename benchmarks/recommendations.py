"""The recommendation for eight concepts and both signs: found in 25 completions, measured at half, once and 1.5 times.

    python benchmarks/recommendations.py [--layer 0.4] [--only cheerful] [--quick] [--json]

For every concept a mean difference is fitted, and each sign's coefficient is chosen by the default rule from at most 25
completions, the unsteered ones among them; nothing else is looked at. Then effect and cost are measured on test items
that had no part in it, beside those at half and at one and a half times the recommendation.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import steersman
from steersman.maths.statistics import Estimate
from steersman.objectives import Objective, cost_measures, objective_named
from steersman.selection.budget import Budget
from steersman.selection.coefficient import choose_coefficient
from steersman.tasks import Setting

PERSONAS = {
    "cheerful": "gloomy",
    "formal": "casual",
    "poetic": "matter-of-fact",
    "confident": "timid",
    "old-fashioned": "modern",
    "enthusiastic": "bored",
}
SETS = {"refusal": "refusal", "honesty": "honesty"}
"""Built-in pairs, and the objective that each is measured by beside the projection."""

COSTS = Budget({"kl": 1.0, "cross-entropy": 1.0})
"""Only the names count: nothing is limited here."""

MULTIPLES = (0.5, 1.0, 1.5)


def fitted(model: steersman.Model, name: str, layer: float, quick: bool) -> steersman.Direction:
    """Return the mean difference of a built-in pair set or a persona, at one layer."""
    if name in SETS:
        acts = steersman.record(model, steersman.pairs(name), layers=[layer])
    else:
        pairs = steersman.persona_pairs(name, PERSONAS[name], limit=64 if quick else 256)
        acts = steersman.record(model, pairs, span="end", layers=[layer])
    return steersman.MeanDifference().fit(acts)


def measured(
    model: steersman.Model,
    direction: steersman.Direction,
    objectives: Sequence[Objective],
    coefficient: float,
    limit: int | None,
) -> list[dict[str, Any]]:
    """Return effect and cost on test items at multiples of a coefficient, as changes from the unsteered model."""
    measures = [(each.name, each.unit, each.measure) for each in objectives]
    measures += [(each.name, "nats per token", each) for each in cost_measures(COSTS, limit)]
    tasks = list({measure.test.name: measure.test for _, _, measure in measures}.values())
    settings = [Setting("unsteered")]
    for multiple in MULTIPLES:
        value = multiple * coefficient
        plan = steersman.Plan(direction, coefficient=value)
        settings.append(Setting("steered", plan, site=str(direction.sites[0]), coefficient=value))
    report = steersman.evaluate(model, tasks, settings, context=model.identity)
    found: list[dict[str, Any]] = []
    for multiple, setting in zip(MULTIPLES, settings[1:], strict=True):
        row: dict[str, Any] = {"multiple": multiple, "coefficient": setting.coefficient}
        for name, unit, measure in measures:
            wanted = (measure.test.name, measure.metric, setting.coefficient)
            shown = (row for row in report.differences if (row["task"], row["metric"], row["coefficient"]) == wanted)
            # Where nothing but empty completions was written, no item has the metric.
            change = next(shown, {"value": 0.0, "low": 0.0, "high": 0.0, "n": 0})
            ends = sorted((measure.scale * change["low"], measure.scale * change["high"]))
            row[name] = vars(Estimate(measure.scale * change["value"], ends[0], ends[1], change["n"])) | {"unit": unit}
        found.append(row)
    return found


def recommended(model: steersman.Model, name: str, sign: int, layer: float, quick: bool) -> dict[str, Any]:
    """Return one concept's recommendation for one sign, with its completions and what it measures."""
    begun = time.monotonic()
    direction = fitted(model, name, layer, quick)
    choice = choose_coefficient(model, direction, sign=sign)
    row: dict[str, Any] = {"concept": name, "sign": sign, **choice.plain(), "seconds": time.monotonic() - begun}
    shown = choice.shown
    row["shown"] = None if shown is None else {"coefficient": shown.coefficient, "completions": shown.completions}
    row["points"] = []
    if choice.recommended is not None:
        limit = 8 if quick else None
        names = ["expression", *([SETS[name]] if name in SETS else [])]
        objectives = [objective_named(each, direction, sign=sign, limit=limit) for each in names]
        row["points"] = measured(model, direction, objectives, choice.recommended, limit)
    return row


def show(row: dict[str, Any]) -> None:
    """Print one concept and sign: the reason, the completions, and effect beside cost."""
    print(f"\n{row['concept']}, sign {row['sign']:+d}, {row['sites'][0]}: {row['completions']} completions")
    print(f"  {row['reason']}")
    if row["shown"] is None:
        return
    for prompt, text in zip(row["prompts"], row["shown"]["completions"], strict=True):
        print(f"  at {row['shown']['coefficient']:g}: {prompt} -> {' '.join(text.split())}")
    for point in row["points"]:
        cells = [
            f"{name} {each['value']:+.3g} [{each['low']:+.3g}, {each['high']:+.3g}] {each['unit']} (n = {each['n']})"
            for name, each in point.items()
            if isinstance(each, dict)
        ]
        print(f"  {point['multiple']:g}x, {point['coefficient']:+.3g} norm: {'; '.join(cells)}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="one of the concepts; may be given several times")
    parser.add_argument("--layer", type=float, default=0.4, help="as a share of the depth, or a layer")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quick", action="store_true", help="fewer pairs and items")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    names = [*SETS, *PERSONAS]
    if unknown := set(chosen.only or ()) - set(names):
        parser.error(f"expected concepts among {', '.join(names)}, got {', '.join(sorted(unknown))}")
    layer = chosen.layer if chosen.layer < 1 else int(chosen.layer)
    model = steersman.load(dtype=chosen.dtype)
    rows: list[dict[str, Any]] = []
    for name in chosen.only or names:
        for sign in (1, -1):
            rows.append(recommended(model, name, sign, layer, chosen.quick))
            if chosen.json:
                print(f"{name} {sign:+d}: {rows[-1]['reason']}", file=sys.stderr)
            else:
                show(rows[-1])
    if chosen.json:
        json.dump(rows, sys.stdout, indent=1, allow_nan=False)


if __name__ == "__main__":
    main()
