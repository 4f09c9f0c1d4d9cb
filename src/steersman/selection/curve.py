"""A curve of trials: what was written at rising coefficients, what it measured, and what a rule makes of it.

Rules see nothing else, so that the same rule reads a stored sweep of another model and a search that is still going on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol

from steersman.errors import InputError

Status = Literal["found", "no alarm", "no onset", "no effect", "never coherent"]
"""`found`: there is a recommendation below the alarm; `no alarm`: coherent as far as was tried, and the best of that
is recommended; `no onset`: the behaviour never shows clearly in coherent text, and what the rule takes is recommended
all the same; `no effect`: it does not show at all; `never coherent`: from the first coefficient on the alarm rings, or
text is not whole."""


@dataclass(frozen=True)
class Trial:
    """What came of one coefficient.

    Args:
        coefficient: signed, in the curve's unit; 0 is unsteered.
        completions: what was written, one per prompt, without the prompts.
        signals: means over the prompts, by the signal's name; finite.
    """

    coefficient: float
    completions: tuple[str, ...] = ()
    signals: Mapping[str, float] = field(default_factory=dict[str, float])

    def plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {
            "coefficient": self.coefficient,
            "completions": list(self.completions),
            "signals": dict(self.signals),
        }

    @staticmethod
    def parse(plain: Mapping[str, Any]) -> "Trial":
        """Return the trial of what `plain` gave."""
        return Trial(plain["coefficient"], tuple(plain["completions"]), plain["signals"])


@dataclass(frozen=True)
class Curve:
    """Trials of one sign of a direction, by rising size of the coefficient, the first one unsteered.

    Args:
        trials: at least two; the first at coefficient 0, the others of one sign, no coefficient twice.

    Raises:
        InputError: for trials that are no such curve.
    """

    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        """Refuse what is no curve."""
        sizes = [abs(trial.coefficient) for trial in self.trials]
        signs = {trial.coefficient > 0 for trial in self.trials[1:]}
        if len(sizes) < 2 or sizes[0] != 0 or any(a >= b for a, b in pairwise(sizes)):
            raise InputError(f"expected coefficients rising in size from 0, got {[t.coefficient for t in self.trials]}")
        if len(signs) > 1:
            raise InputError("expected coefficients of one sign, got both; make a curve of each")

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The coefficients, the first one 0."""
        return tuple(trial.coefficient for trial in self.trials)

    def values(self, signal: str) -> tuple[float, ...]:
        """Return a signal's values, one per trial.

        Raises:
            InputError: for a signal that some trial lacks.
        """
        if any(signal not in trial.signals for trial in self.trials):
            known = sorted(set.intersection(*(set(trial.signals) for trial in self.trials)))
            raise InputError(f"expected a signal among {', '.join(known) or 'none'}, got {signal!r}")
        return tuple(trial.signals[signal] for trial in self.trials)

    def nearest(self, coefficient: float) -> Trial:
        """Return the trial whose coefficient is nearest, of two equally near ones the gentler."""
        return min(self.trials, key=lambda trial: (abs(trial.coefficient - coefficient), abs(trial.coefficient)))


@dataclass(frozen=True)
class Pick:
    """What a rule makes of a curve.

    Args:
        status: in a word.
        recommended: the coefficient to use; None where there is none to be recommended.
        onset: the gentlest coefficient at which the behaviour shows; None where it never does or the rule cannot tell.
        alarm: the gentlest coefficient at which the rule says that coherence is lost; None where it never is.
        tried: the strongest coefficient of the curve.
        reason: the rule and its figures, in a sentence.
    """

    status: Status
    recommended: float | None
    onset: float | None
    alarm: float | None
    tried: float
    reason: str


class Rule(Protocol):
    """Chooses a coefficient from a curve."""

    @property
    def name(self) -> str:
        """As tables and options say it."""
        ...

    @property
    def signals(self) -> Sequence[str]:
        """The signals it reads."""
        ...

    def pick(self, curve: Curve) -> Pick:
        """Return what it makes of the curve."""
        ...
