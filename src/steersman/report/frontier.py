"""The frontier of a trade-off: the settings that nothing beats in gain and in cost, and how much of a box it covers."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.maths.pareto import Box, Point, area, dominates, frontier
from steersman.report.metrics import Metric
from steersman.report.series import Dot
from steersman.report.words import amount

Pair = tuple[Dot, Dot]
_NATS = 1.0
"""What a cost in nats per token may come to before a setting counts for nothing: text is past reading by then."""


@dataclass(frozen=True)
class Frontier:
    """What the trade-off comes to.

    Attributes:
        pairs: Gain and cost of the settings that no other beats in both, by rising gain.
        words: The area under them and what it is measured in, and where the system prompt lies; a sentence or two.
    """

    pairs: tuple[Pair, ...]
    words: str


def frontier_of(
    gain: Metric, cost: Metric, wanted: int, steered: Sequence[Pair], base: Pair | None, prompt: Pair | None
) -> Frontier:
    """The frontier of steered settings and of not steering at all.

    Args:
        gain: What steering is for; more of it is better where `wanted` is 1, less where it is -1.
        cost: What it costs; `better` says which way is good, up where it does not.
        wanted: 1 or -1.
        steered: Gain and cost of every steered setting.
        base: Of the unsteered model.
        prompt: Of the system prompt, which is compared and does not count.
    """
    toll = 1 if cost.better == "lower" else -1
    pairs = [*steered, *([base] if base else [])]
    points = [_point(pair, wanted, toll) for pair in pairs]
    best = {(point.gain, point.cost) for point in frontier(points)}
    kept = [pair for pair, point in zip(pairs, points, strict=True) if (point.gain, point.cost) in best]
    kept.sort(key=lambda pair: (wanted * pair[0].value, toll * pair[1].value))
    words: list[str] = []
    box = _box(gain, cost, wanted, toll, base, points) if base else None
    if box is not None and base is not None:
        words.append(
            f"The frontier (dotted) covers {100 * area(points, box):.0f} % of the box from the unsteered "
            f"{_said(gain, base[0])} to {_said(gain, wanted * box.best.gain)} across and from "
            f"{_said(cost, toll * box.worst.cost)} to the unsteered {_said(cost, base[1])} up."
        )
    if prompt:
        asked = _point(prompt, wanted, toll)
        beaten = any(dominates(point, asked) for point in points)
        words.append(f"The system prompt lies {'within' if beaten else 'on or beyond'} it.")
    return Frontier(tuple(kept), " ".join(words))


def _point(pair: Pair, wanted: int, toll: int) -> Point:
    return Point(wanted * pair[0].value, toll * pair[1].value)


def _box(gain: Metric, cost: Metric, wanted: int, toll: int, base: Pair, points: Sequence[Point]) -> Box | None:
    """From the unsteered gain at the highest cost to be borne to the best gain at the unsteered cost, if there is any.

    Percentages end at 0 and 100 %; a gain in another unit ends at the best that was measured.
    """
    start = _point(base, wanted, toll)
    most = (100.0 if wanted > 0 else 0.0) if gain.percent else max(point.gain for point in points)
    ceiling = (100.0 if toll > 0 else 0.0) if cost.percent else start.cost + _NATS
    if most <= start.gain or ceiling <= start.cost:
        return None
    return Box(Point(start.gain, ceiling), Point(most, start.cost))


def _said(metric: Metric, found: Dot | float) -> str:
    value = found.value if isinstance(found, Dot) else found
    return amount(metric, value / 100 if metric.percent else value, None)
