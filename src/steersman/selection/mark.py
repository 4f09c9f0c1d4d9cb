"""Coherence as a judge would mark it, guessed from signals, and where along a curve it is lost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from steersman.selection.curve import Curve


@final
@dataclass(frozen=True)
class Mark:
    """A judge's mark from 1 to 10, guessed from signals: `1 + 9 / (1 + exp(-(intercept + sum of weight x signal)))`.

    Args:
        intercept: at signals of 0.
        weights: by signal.
        relative: signals that count less their unsteered value. A reader finds its own kind's text likelier than
            another's; what tells of steering is how far it falls.
    """

    intercept: float
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    relative: tuple[str, ...] = ()

    def read(self, signals: Mapping[str, float], unsteered: Mapping[str, float]) -> float:
        """Return the mark, 1 to 10.

        Args:
            signals: of the text.
            unsteered: of the text that the unsteered model writes in its place.
        """
        values = {name: signals[name] - (unsteered[name] if name in self.relative else 0.0) for name in self.weights}
        z = self.intercept + sum(weight * values[name] for name, weight in self.weights.items())
        return 1 + 9 / (1 + math.exp(-max(min(z, 50.0), -50.0)))

    def along(self, curve: Curve) -> list[float]:
        """Return the mark of every trial of a curve."""
        return [self.read(trial.signals, curve.trials[0].signals) for trial in curve.trials]


COHERENCE = Mark(2.3, {"low_logprob": 0.53, "repetition": -3.9}, relative=("low_logprob",))
"""The coherence that a judge would see, as the default model reads it.

Fitted to a judge's marks of 2,640 completions of Llama-3-8B, steered towards two concepts by 12 kinds of vectors. How
far such constants carry over to a concept that they were not fitted on, `steersman bench selection` says (`held out`).
"""


def first_broken(coefficients: Sequence[float], marks: Sequence[float], least: float, neighbours: int) -> int | None:
    """Return where text begins to be broken: the first trial from which on at least two in a row are; `None` for none.

    The last trial alone counts as well, since nothing says that text would recover.

    Args:
        coefficients: of the trials, the first one unsteered.
        marks: of the trials, 1 to 10.
        least: a mark below this, neighbours averaged in, is broken.
        neighbours: as in `smooth`.
    """
    broken = [mark < least for mark in smooth(coefficients, marks, neighbours)]
    return next((i for i in range(1, len(broken)) if all(broken[i : i + 2])), None)


def smooth(coefficients: Sequence[float], values: Sequence[float], neighbours: int) -> list[float]:
    """Return the values, each averaged with what lies near it: by coefficient, since a search tries uneven ones.

    Args:
        coefficients: of the trials, rising in size from 0.
        values: one per trial.
        neighbours: so many trials on either side count, with weights falling to zero behind them; 0 for none. Counted
            in mean distances between the coefficients.
    """
    width = (neighbours + 1) * abs(coefficients[-1]) / (len(coefficients) - 1)
    found: list[float] = []
    for here in coefficients:
        # On an even grid the nearest one behind the neighbours gets no weight, up to rounding.
        weights = [max(0.0, 1 - abs(there - here) / width) for there in coefficients]
        found.append(sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights))
    return found
