"""A budget: what steering may cost, each cost in its own unit and counted from the unsteered model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from steersman.errors import InputError


@dataclass(frozen=True)
class Cost:
    """One thing that steering may spend.

    Args:
        unit: of limits and measured values.
        words: what it counts.
        most: the largest value that there can be.
        power: how it grows with a small coefficient, for interpolation: 1 in proportion, 2 with its square (a
            divergence is flat at its minimum, which is no steering).
    """

    unit: str
    words: str
    most: float = math.inf
    power: int = 1


KNOWN: Mapping[str, Cost] = MappingProxyType(
    {
        "kl": Cost("nats per token", "KL(unsteered || steered) of the next token", power=2),
        "cross-entropy": Cost("nats per token", "rise of the cross-entropy of plain text"),
        "knowledge": Cost("percentage points", "accuracy lost on questions of knowledge", most=100.0),
        "over-refusal": Cost("share", "rise of the share of harmless prompts that are refused", most=1.0),
    }
)
"""The costs that a budget can limit, by name."""

EXAMPLE = "kl=0.5,cross-entropy=0.2,knowledge=2,over-refusal=0.05"


@dataclass(frozen=True)
class Budget:
    """The most that each cost may come to, in the units of `KNOWN`.

    A cost is a change from the unsteered model, upwards: one that falls is within any budget. Costs that the budget
    does not name are free; one that it names and nobody measured is an error, never silently within.

    Args:
        limits: at least one, by the cost's name: finite, at least 0, and no larger than the cost can become.

    Raises:
        InputError: for a cost that is not known, or a limit that is none.
    """

    limits: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse what limits nothing."""
        if not self.limits:
            raise InputError(f"expected a budget with at least one limit, such as {EXAMPLE}, got none")
        for name, limit in self.limits.items():
            cost = KNOWN.get(name)
            if cost is None:
                raise InputError(f"expected a budget of {', '.join(KNOWN)}, got {name[:40]!r}")
            if not 0 <= limit <= cost.most or math.isinf(limit):
                top = "" if math.isinf(cost.most) else f" and at most {cost.most:g}"
                raise InputError(f"expected a limit of at least 0{top} {cost.unit} for {name}, got {limit}")
        # A copy in a fixed order: equal budgets are written alike, and whoever gave the mapping keeps it.
        ordered = {name: float(self.limits[name]) for name in KNOWN if name in self.limits}
        object.__setattr__(self, "limits", ordered)

    def __str__(self) -> str:
        return ",".join(f"{name}={limit:.12g}" for name, limit in self.limits.items())

    @staticmethod
    def parse(text: str) -> "Budget":
        """Return the budget written as `kl=0.5,over-refusal=0.05`.

        Raises:
            InputError: when none is written so.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            name = name.replace("_", "-")
            try:
                value = float(number)
            except ValueError:
                value = None
            if not equals or value is None:
                raise InputError(f"expected a budget such as {EXAMPLE}, got {text[:80]!r}")
            if name in limits:
                raise InputError(f"expected every cost once in a budget, got {name!r} twice in {text[:80]!r}")
            limits[name] = value
        return Budget(limits)

    @property
    def words(self) -> str:
        """The limits with their units, for a sentence."""
        return ", ".join(f"{name} at most {limit:g} {KNOWN[name].unit}" for name, limit in self.limits.items())

    def broken(self, costs: Mapping[str, float]) -> list[str]:
        """Return each limit that measured costs break, in words; none where they are within the budget.

        Args:
            costs: by name, in the units of `KNOWN`; those that the budget does not name are left aside. A cost that is
                not a number breaks its limit.

        Raises:
            InputError: for a cost in the budget that was not measured.
        """
        return [
            f"{name} {costs[name]:.3g} above {limit:g} {KNOWN[name].unit}"
            for name, limit in self._measured(costs).items()
            if not costs[name] <= limit
        ]

    def within(self, costs: Mapping[str, float]) -> bool:
        """Return whether measured costs keep every limit; see `broken`.

        Raises:
            InputError: for a cost in the budget that was not measured.
        """
        return not self.broken(costs)

    def spent(self, costs: Mapping[str, float]) -> float:
        """Return the share of the budget that is spent: of the limit that is nearest to breaking, or furthest beyond.

        Args:
            costs: as in `broken`.

        Returns:
            At least 0; above 1 beyond the budget; infinite for a cost that is not a number, or any above a limit of 0.

        Raises:
            InputError: for a cost in the budget that was not measured.
        """
        return max(_share(costs[name], limit) for name, limit in self._measured(costs).items())

    def _measured(self, costs: Mapping[str, float]) -> Mapping[str, float]:
        missing = [name for name in self.limits if name not in costs]
        if missing:
            raise InputError(
                f"expected a measured value of every cost in the budget, got none of {', '.join(missing)}; measure it, "
                "or take it out of the budget"
            )
        return self.limits


def _share(value: float, limit: float) -> float:
    if math.isnan(value):
        return math.inf
    value = max(0.0, value)
    return value / limit if limit else (math.inf if value else 0.0)
