"""Adaptive search of a strength: bracket by growth, then cut the gaps that matter, several questions at a time.

Which strengths to try next depends on nothing but those that were tried and what they point at: a threshold that is
passed somewhere, the place where an effect sets in, the best so far. Whoever asks decides what passes and what is best,
so that a noisy answer that is taken back later does no harm: the next question starts from what is known then.

Strengths are sizes, above 0. The search of the other sign is the same one, its questions mirrored by who asks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from steersman.errors import InputError

FIGURES = 3
"""Significant figures of a size: it is read and typed by people."""

TOGETHER = 1.25
"""The largest size is taken at once where the next step would end this near to it, as a ratio."""


@dataclass(frozen=True)
class Reach:
    """What a search may ask.

    Args:
        first: the gentlest size of the first questions.
        least: below this nothing is asked.
        largest: nor above this.
        growth: each size of a bracket is so many times the one before, above 1.
        resolution: neighbours nearer to each other than this ratio, above 1, have no gap that is worth a question.

    Raises:
        InputError: for numbers that are no reach.
    """

    first: float
    least: float
    largest: float
    growth: float = 2.0
    resolution: float = 1.08

    def __post_init__(self) -> None:
        """Refuse what is no reach."""
        if not 0 < self.least <= self.first <= self.largest < math.inf:
            raise InputError(
                f"expected sizes of a search with 0 < least <= first <= largest, got {self.least:g}, {self.first:g}, "
                f"{self.largest:g}"
            )
        if not (1 < self.growth < math.inf and 1 < self.resolution < math.inf):
            raise InputError(f"expected a growth and a resolution above 1, got {self.growth:g} and {self.resolution:g}")


@dataclass(frozen=True)
class Landmarks:
    """What the answers so far point at, as sizes; `None` where they point at nothing.

    Args:
        alarm: the gentlest size that passed the threshold.
        onset: the gentlest size at which the effect shows.
        best: the size to be recommended; it need not have been tried.
    """

    alarm: float | None = None
    onset: float | None = None
    best: float | None = None


def ask(tried: Sequence[float], landmarks: Landmarks, reach: Reach, count: int) -> tuple[float, ...]:
    """Return at most `count` sizes to try next, rising, none of them tried before; none when nothing is left to ask.

    In this order: the best where it was not tried itself; upwards by growth until the threshold is passed or the
    largest size is reached; downwards where the very first size passes it; then cuts, each at the geometric middle of
    the widest of the gaps below the alarm, below the onset and on both sides of the best; then of any gap below the
    alarm.

    Args:
        tried: sizes that were tried, in any order.
        landmarks: what came of them.
        reach: what may be asked.
        count: how many questions, at least 1.

    Raises:
        InputError: for a count below 1, or a size that is not positive.
    """
    if count < 1:
        raise InputError(f"expected at least one question, got {count}")
    if any(not 0 < size < math.inf for size in tried):
        raise InputError(f"expected positive sizes that were tried, got {list(tried)}")
    known = sorted(set(tried))
    asked: list[float] = []

    def put(size: float) -> bool:
        """Ask for a size unless it is known, out of reach, or there is no question left."""
        rounded = min(max(_rounded(size), reach.least), reach.largest)
        fresh = len(asked) < count and rounded not in known and rounded not in asked
        if fresh:
            asked.append(rounded)
        return fresh

    best = landmarks.best
    if best is not None and reach.least <= best <= reach.largest and not _near(best, known):
        put(best)
    if landmarks.alarm is None:
        size = max(known, default=None)
        while len(asked) < count and (size is None or size < reach.largest):
            size = reach.first if size is None else _grown(size, reach)
            put(size)
    elif not any(size < landmarks.alarm for size in known):
        size = landmarks.alarm
        while len(asked) < count and size > reach.least:
            size = max(size / reach.growth, reach.least)
            put(size)
    while len(asked) < count and (gap := _widest(sorted({*known, *asked}), landmarks, reach)):
        if not put(math.sqrt(gap[0] * gap[1])):
            break
    return tuple(sorted(asked))


def rounds(total: int, first: int = 4) -> list[int]:
    """Return how many questions to ask at a time when `total` may be asked: many at first, then fewer and fewer.

    Few rounds make few batches; late questions are worth more, since they know more answers.

    Args:
        total: of all rounds, at least 1.
        first: of the first round at least so many.
    """
    sizes: list[int] = []
    left = total
    while left > 0:
        size = min(left, max(2, math.ceil(left / 3), 0 if sizes else first))
        sizes.append(size)
        left -= size
    return sizes


def _widest(sizes: Sequence[float], landmarks: Landmarks, reach: Reach) -> tuple[float, float] | None:
    """Return the widest gap worth a question: those about the landmarks first, then any below the alarm."""
    gaps = list(pairwise(sizes))
    if sizes and sizes[0] > reach.least:
        # Below the gentlest size there is 0, which no ratio reaches.
        gaps.insert(0, (max(reach.least, sizes[0] / reach.growth**2), sizes[0]))
    open_gaps = [gap for gap in gaps if gap[1] > gap[0] * reach.resolution]
    below = [gap for gap in open_gaps if landmarks.alarm is None or gap[1] <= landmarks.alarm]
    ends = (landmarks.alarm, landmarks.onset, landmarks.best)
    marked = [gap for gap in below if gap[1] in ends or gap[0] == landmarks.best]
    # Also the gap that holds a landmark which was not tried itself.
    marked += [gap for gap in below if any(end is not None and gap[0] < end < gap[1] for end in ends)]
    choice = marked or [gap for gap in below if gap[0] in sizes]
    return max(choice, key=lambda gap: (gap[1] / gap[0], -gap[0]), default=None)


def _grown(size: float, reach: Reach) -> float:
    grown = size * reach.growth
    return reach.largest if grown * TOGETHER >= reach.largest else grown


def _near(size: float, known: Sequence[float]) -> bool:
    """Return whether a size was tried, to the figures that are asked for."""
    return any(abs(each - size) <= 10.0**-FIGURES * size for each in known)


def _rounded(size: float) -> float:
    return float(f"{size:.{FIGURES}g}")
