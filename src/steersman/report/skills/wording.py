"""The record in words: the finding, the short table, and the cells of the page's tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.maths.statistics import Estimate
from steersman.report.skills.faces import layers_short, layers_words, level, percent
from steersman.report.skills.reading import read_skills, skills_of
from steersman.report.skills.record import Choice, Contrast, Curve, Skills
from steersman.report.words import DASH, coefficient, number, plain, signed

Source = Skills | Mapping[str, Any] | str | Path

NEVER = "never reached"


@dataclass(frozen=True)
class Outcome:
    """What one choice came to on test, all text; a dash where something was not measured.

    Attributes:
        remove: the removed skill.
        vector: the chosen vector.
        layers: as "9+12".
        coefficient: the chosen one.
        keep: what is left of the kept skill at that coefficient.
        left: what is left of the removed one there.
        at_level: what is left of the removed one where the kept one passes its level.
        control: the same for permuted coordinates.
        difference: between those two, in points.
        reason: why it was chosen.
    """

    remove: str
    vector: str
    layers: str
    coefficient: str
    keep: str
    left: str
    at_level: str
    control: str
    difference: str
    reason: str


def record_of(source: Source) -> Skills:
    """The record itself, of plain data or in a run folder.

    Raises:
        FileError: there is no readable `skills.json`.
        DataError: it does not hold what it should.
    """
    if isinstance(source, Skills):
        return source
    return skills_of(source) if isinstance(source, Mapping) else read_skills(Path(source))


def outcomes(record: Skills) -> list[Outcome]:
    """What every choice came to on the test texts."""
    return [_outcome(record, choice) for choice in record.chosen]


def _outcome(record: Skills, choice: Choice) -> Outcome:
    curves = [c for c in record.curves("test", choice.remove) if c.is_of(choice.vector, choice.layers)]
    steered = next((curve for curve in curves if curve.arm == "steered"), None)
    point = steered and steered.at(choice.coefficient)
    contrast = against_permuted(record, choice)
    keep = left = DASH
    if point:
        keep = percent(point.relative[record.keep][record.metric])
        left = percent(point.relative[choice.remove][record.metric])
    return Outcome(
        remove=choice.remove,
        vector=choice.vector,
        layers=layers_short(choice.layers),
        coefficient=coefficient(choice.coefficient),
        keep=keep,
        left=left,
        at_level=DASH if steered is None else _at_level(steered, choice.remove),
        control=_control(contrast, curves),
        difference=DASH if contrast is None or contrast.difference is None else points(contrast.difference),
        reason=choice.reason,
    )


def _at_level(curve: Curve, remove: str) -> str:
    return NEVER if curve.kept is None or remove not in curve.kept.skills else percent(curve.kept.skills[remove])


def _control(contrast: Contrast | None, curves: list[Curve]) -> str:
    """What permuted coordinates leave at the same level: as compared, or one draw's, or that none reached it."""
    if contrast is not None and contrast.second_value is not None:
        return percent(contrast.second_value)
    permuted = [curve for curve in curves if curve.arm == "permuted"]
    if len(permuted) == 1:
        return _at_level(permuted[0], permuted[0].remove)
    return NEVER if permuted and all(curve.kept is None for curve in permuted) else DASH


def against_permuted(record: Skills, choice: Choice) -> Contrast | None:
    """The comparison of a choice with permuted coordinates; of several the one that names its vector and layers."""
    mine = [each for each in record.comparisons if each.remove == choice.remove and "accuracy" in each.measure]
    found = [each for each in mine if each.question == "steered against permuted"]
    if len(found) < 2:
        return next(iter(found), None)
    names = (choice.vector, layers_words(choice.layers))
    named = [each for each in found if all(name in each.first for name in names)]
    first = next(iter(record.choices(choice.remove)), None)
    return next(iter(named), found[0] if first == choice else None)


def points(found: Estimate) -> str:
    """A difference of shares as "−18.2 points (−21.0 to −15.1)"."""
    value, low, high = (signed(100 * end, 1) for end in (found.value, found.low, found.high))
    return f"{value} points ({low} to {high})"


def compared(contrast: Contrast) -> tuple[str, str, str]:
    """First value, second value and difference of a comparison: percent and points, or plain numbers for an area."""
    values = (contrast.first_value, contrast.second_value)
    share = "area" not in contrast.measure
    first, second = (NEVER if each is None else percent(each) if share else _plainly(each) for each in values)
    if contrast.difference is None:
        return first, second, DASH
    return first, second, points(contrast.difference) if share else _plainly(contrast.difference, sign=True)


def _plainly(found: Estimate, *, sign: bool = False) -> str:
    write = signed if sign else number
    return f"{write(found.value, 3)} ({write(found.low, 3)} to {write(found.high, 3)})"


def heads(record: Skills) -> tuple[str, ...]:
    """The heads of the table, in the order of `Outcome`."""
    return (
        "Removed",
        "Vector",
        "Layers",
        f"Coefficient ({record.unit})",
        f"{record.keep} left there",
        "Skill left there",
        f"Skill left where {record.keep} = {level(record)}",
        "Permuted coordinates there",
        "Difference",
    )


def skills_table(source: Source) -> str:
    """A Markdown table with a row for every removed skill: what was chosen, and what it came to on test.

    Args:
        source: a run folder, a record, or its plain data.

    Raises:
        FileError: there is no readable `skills.json`.
        DataError: it does not hold what it should.
    """
    record = record_of(source)
    rows = [heads(record), *(cells(outcome) for outcome in outcomes(record))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return plain("\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]))


HEADLINE = 4
"""Sentences that open the page and are printed; the others are folded away."""


def cells(outcome: Outcome) -> tuple[str, ...]:
    """The cells of one row, as `heads` names them."""
    names = ("remove", "vector", "layers", "coefficient", "keep", "left", "at_level", "control", "difference")
    return tuple(getattr(outcome, name) for name in names)


def skills_finding(source: Source) -> str:
    """The headline: the first of the study's own sentences, or one made of what was chosen where it has none.

    Args:
        source: a run folder, a record, or its plain data.

    Raises:
        FileError: there is no readable `skills.json`.
        DataError: it does not hold what it should.
    """
    return " ".join(sentences(record_of(source))[:HEADLINE])


def sentences(record: Skills) -> list[str]:
    """The finding, sentence by sentence."""
    if record.finding:
        return list(record.finding)
    if not record.chosen:
        return ["Nothing was chosen: no vector was found to remove a skill."]
    return [_sentence(record, outcome) for outcome in outcomes(record)]


def _sentence(record: Skills, outcome: Outcome) -> str:
    if outcome.at_level in (NEVER, DASH):
        return (
            f"{outcome.remove} removed: {record.keep} never falls to {level(record)} within the coefficients measured; "
            f"at the chosen one, {outcome.coefficient}, {outcome.left} of {outcome.remove} is left."
        )
    control = "" if outcome.control in (NEVER, DASH) else f"; permuted coordinates leave {outcome.control}"
    return f"Where {record.keep} is kept at {level(record)}, {outcome.at_level} of {outcome.remove} is left{control}."
