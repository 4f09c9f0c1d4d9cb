"""Comparisons of curves on test texts: at the same kept level, and by area, each with an interval and a sentence."""

from dataclasses import asdict, dataclass
from typing import Any

from steersman.maths.retention import Draws, lost, pooled
from steersman.studies.skills.curves import Curve


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a curve, or several drawn controls whose mean counts.

    Args:
        label: as sentences say it.
        curves: one or more, of one removed skill.
    """

    label: str
    curves: tuple[Curve, ...]

    @property
    def remove(self) -> str:
        """The removed skill."""
        return self.curves[0].line.remove

    def left(self, retain: float) -> Draws | None:
        """Return what is left of the removed skill at the kept level; `None` where a curve never falls to it."""
        found = [curve.left(retain) for curve in self.curves]
        values = [each for each in found if each is not None]
        return pooled(values, self.curves[0].seed) if len(values) == len(found) else None

    def area(self, reach: float) -> Draws:
        """Return the area up to a common loss."""
        return pooled([curve.area(reach) for curve in self.curves], self.curves[0].seed)

    @property
    def reach(self) -> float:
        """How far every curve goes."""
        return min(lost(curve.removed, curve.kept) for curve in self.curves)


def compared(question: str, first: Side, second: Side, retain: float) -> list[dict[str, Any]]:
    """Return what one side leaves of its removed skill against the other: at the kept level, and by area.

    Args:
        question: such as `steered against permuted`.
        first: what is asked about.
        second: what it is compared with.
        retain: the kept level.

    Returns:
        Two records; only the area's where a side never falls to the kept level, with a `note` that says so.
    """
    same = first.remove == second.remove
    keep, metric = first.curves[0].keep, first.curves[0].metric
    words = "top-1 accuracy" if metric == "top1_accuracy" else "top-10 accuracy"
    what = f"relative {words} of {first.remove if same else 'the removed skill'}"
    records: list[dict[str, Any]] = []
    one, two = first.left(retain), second.left(retain)
    missing = [side.label for side, found in ((first, one), (second, two)) if found is None]
    note = f"{' and '.join(missing)} never fell to {retain:.0%} of {keep}" if missing else None
    if one is not None and two is not None:
        moved = (one - two).estimate()
        begin = f"With {retain:.0%} of {keep} kept, {first.label} leaves {one.value:.1%} of {first.remove}"
        records.append(
            _record(question, first, second, (one, two), retain, what)
            | {
                "sentence": f"{begin}, {second.label} {two.value:.1%}"
                + ("" if same else f" of {second.remove}")
                + f": {_points(moved.value, moved.low, moved.high)}; {_verdict(moved.sign, first, second)}."
            }
        )
    reach = min(first.reach, second.reach)
    one, two = first.area(reach), second.area(reach)
    moved = (one - two).estimate()
    records.append(
        _record(question, first, second, (one, two), retain, "area")
        | {
            "reach": reach,
            "sentence": (
                f"By area between curve and diagonal, up to a mean loss of {reach:.0%}: {first.label} {one.value:.4f}, "
                f"{second.label} {two.value:.4f}, difference {moved.value:+.4f} [{moved.low:+.4f}, {moved.high:+.4f}]; "
                f"{_verdict(-moved.sign, first, second)}."
            ),
        }
        | ({"note": note} if note else {})
    )
    return records


def compared_gaps(first: tuple[Side, Side], second: tuple[Side, Side], retain: float) -> list[dict[str, Any]]:
    """Return how far below its own control each of two skills falls, against the other: what is not generic damage.

    Args:
        first: steered and control of the broad skill.
        second: of the narrow one.
        retain: the kept level.
    """
    found = [side.left(retain) for pair in (first, second) for side in pair]
    if any(each is None for each in found):
        return []
    steered, control, other, others = (each for each in found if each is not None)
    gaps = (steered - control, other - others)
    moved = (gaps[0] - gaps[1]).estimate()
    broad, narrow = first[0], second[0]
    return [
        _record("broad against narrow", broad, narrow, gaps, retain, "points below the permuted control")
        | {
            "sentence": (
                f"Against its permuted control at {retain:.0%} of {broad.curves[0].keep} kept, {broad.remove} falls by "
                f"{-100 * gaps[0].value:.1f} points more and {narrow.remove} by {-100 * gaps[1].value:.1f}: "
                f"{_points(moved.value, moved.low, moved.high)}; {_verdict(moved.sign, broad, narrow)}."
            )
        }
    ]


def _record(
    question: str, first: Side, second: Side, values: tuple[Draws, Draws], retain: float, measure: str
) -> dict[str, Any]:
    return {
        "question": question,
        "remove": first.remove,
        "first": first.label,
        "second": second.label,
        "at": retain,
        "first_value": asdict(values[0].estimate()),
        "second_value": asdict(values[1].estimate()),
        "difference": asdict((values[0] - values[1]).estimate()),
        "measure": measure,
    }


def _points(value: float, low: float, high: float) -> str:
    return f"a difference of {100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def _verdict(sign: int, first: Side, second: Side) -> str:
    """Return which is more selective, given the sign of what the first leaves less what the second does."""
    if not sign:
        return "the two cannot be told apart"
    return f"{(first if sign < 0 else second).label} is the more selective"
