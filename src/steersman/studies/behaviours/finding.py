"""What the study found, in sentences made of its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from steersman.maths.statistics import mean_interval
from steersman.studies.behaviours.config import SEVERAL, BehavioursConfig
from steersman.studies.behaviours.measuring import SCORED, Panel
from steersman.studies.behaviours.testing import Tested

UNITS = {"text": "nats per token", "letter": "nats"}


def compared_kinds(config: BehavioursConfig, tested: Sequence[Tested], panel: Panel) -> list[dict[str, Any]]:
    """Return paired comparisons on test items, each at its own scale, which the guard allowed on validation items.

    Several layers against one, and against random vectors and a prompt; one vector whose overlap is taken out against
    the plain sum of the same vectors at the same layer.

    What is compared is the margin in the direction asked for, over the items of all behaviours, each weighing alike.

    Args:
        config: what was asked.
        tested: everything that is reported.
        panel: the test tasks.
    """
    by_name = {each.candidate.name: each for each in tested}
    found: list[dict[str, Any]] = []
    for each in tested:
        candidate = each.candidate
        how, comma, rest = candidate.name.partition(",")
        others: list[tuple[str, str]] = []
        if candidate.kind == "simultaneous":
            sign = candidate.name.rpartition(" ")[2]
            others = [
                (f"one layer{comma}{rest}", "several layers against one"),
                (f"random, as {candidate.name}", "steered against random"),
                (f"prompt {sign}", "steered against the system prompt"),
            ]
        elif candidate.kind == "combined" and how not in ("sum", "mean"):
            others = [(f"one layer{comma}{rest}", "overlap taken out against left in")]
        for name, question in others:
            if name in by_name:
                found.append(_compared(config, each, by_name[name], panel, question))
    return found


def findings(
    config: BehavioursConfig,
    settings: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    predictions: Sequence[str],
) -> list[str]:
    """Return the study's sentences: what moved alone, what was foretold, how the ways compare, the tax, every way."""
    found = [_alone([row for row in settings if row["kind"] == "single"]), *predictions]
    found += [str(each["sentence"]) for each in comparisons]
    found += _tax(settings)
    found += [_together(row, config) for row in settings if row["kind"] in (*SEVERAL, "random", "prompt")]
    return [sentence for sentence in found if sentence]


def moved(row: Mapping[str, Any], signs: Mapping[str, int]) -> list[str]:
    """Return the behaviours that a setting moved as asked: the margin's interval lies on the side asked for.

    Args:
        row: a setting of the record.
        signs: what was asked, by behaviour.
    """
    return [
        name
        for name, score in row["scores"].items()
        if (score["margin_change"]["low"] > 0 and signs[name] > 0)
        or (score["margin_change"]["high"] < 0 and signs[name] < 0)
    ]


def _alone(rows: Sequence[Mapping[str, Any]]) -> str:
    own = [(row, row["members"][0]["behaviour"]) for row in rows]
    done = [f"{name} ({'+' if row['sign'] > 0 else '-'})" for row, name in own if name in moved(row, {**_signs(row)})]
    words = f": {', '.join(done)}" if done else ""
    return f"By itself, {len(done)} of {len(own)} single settings moved their behaviour as asked on test items{words}."


def _signs(row: Mapping[str, Any]) -> dict[str, int]:
    asked: dict[str, int] = {member["behaviour"]: 1 if member["asked"] > 0 else -1 for member in row["members"]}
    return {name: asked.get(name, int(row["sign"])) for name in row["scores"]}


def _together(row: Mapping[str, Any], config: BehavioursConfig) -> str:
    signs = _signs(row) if row["members"] else {name: _asked(config, row, name) for name in row["scores"]}
    done = moved(row, signs)
    mean = sum(signs[name] * score["margin_change"]["value"] for name, score in row["scores"].items()) / len(signs)
    words = f" ({', '.join(done)})" if done else ""
    return (
        f"{row['name'][0].upper()}{row['name'][1:]}: {len(done)} of {len(signs)} behaviours moved as asked at once"
        f"{words}; the margins changed by {mean:+.3f} {UNITS[config.scoring]} on "
        "average in the direction asked for."
    )


def _asked(config: BehavioursConfig, row: Mapping[str, Any], name: str) -> int:
    return int(row["sign"]) or (config.combined.mixed or {}).get(name, 1)


def _compared(config: BehavioursConfig, first: Tested, second: Tested, panel: Panel, question: str) -> dict[str, Any]:
    made = first.candidate.composition
    assert made is not None
    signs = {member.name: 1 if member.asked > 0 else -1 for member in made.members}
    metric = SCORED[config.scoring][1]
    values: list[float] = []
    sizes = {name: len(task.items) for name, task in panel.behaviours.items()}
    total = sum(sizes.values())
    for name, task in panel.behaviours.items():
        one, two = (each.rows[task.name].values(metric) for each in (first, second))
        # So that every behaviour weighs alike, however many items it has.
        weight = total / (len(sizes) * sizes[name])
        values += [signs[name] * weight * (value - two[item]) for item, value in one.items()]
    difference = mean_interval(values, config.seed)
    names = first.candidate.name, second.candidate.name
    words = {1: "moves the margins further than", -1: "moves the margins less far than", 0: "cannot be told apart from"}
    sentence = (
        f"{names[0][0].upper()}{names[0][1:]} {words[difference.sign]} {names[1]}: a difference of "
        f"{difference.value:+.3f} {UNITS[config.scoring]} in the direction asked for ({difference.low:+.3f} to "
        f"{difference.high:+.3f}, {total} items)."
    )
    return {
        "question": question,
        "first": names[0],
        "second": names[1],
        "difference": asdict(difference),
        "sentence": sentence,
    }


def _tax(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    held = [row for row in settings if row["tax"] and row["kind"] in (*SEVERAL, "single")]
    if not held:
        return []
    worst = min(held, key=lambda row: row["tax"]["change"]["value"])
    sure = sum(row["tax"]["change"]["high"] < 0 for row in held)
    change = worst["tax"]["change"]
    words = (
        f"Knowledge falls for certain under {sure} of {len(held)} steered settings; most under {worst['name']}, by "
        f"{100 * change['value']:+.1f} points ({100 * change['low']:+.1f} to {100 * change['high']:+.1f}, "
        f"{worst['tax']['n']} questions)."
    )
    return [words]
