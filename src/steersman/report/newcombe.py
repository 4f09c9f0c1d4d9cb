"""The difference of two independent rates with Newcombe's hybrid interval, from the rates' own intervals."""

import math
from dataclasses import dataclass

from steersman.report.values import Result


@dataclass(frozen=True)
class Difference:
    """A difference of two rates with its 95 % interval, as fractions of 1."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return (self.low > 0) - (self.high < 0)


def rate_difference(first: Result, second: Result) -> Difference | None:
    """First minus second rate with Newcombe's 95 % interval, or None where an interval is missing."""
    ends = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(end is None for end in ends):
        return None
    p, p_low, p_high, q, q_low, q_high = (float(end) for end in ends if end is not None)
    return Difference(
        value=p - q,
        low=p - q - math.hypot(p - p_low, q_high - q),
        high=p - q + math.hypot(p_high - p, q - q_low),
    )
