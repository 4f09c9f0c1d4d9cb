"""Calibration: the constants of a mark, fitted to a judge's marks."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from steersman.errors import InputError
from steersman.selection.curve import Curve
from steersman.selection.mark import Mark

SHRINKAGE = 0.01
"""Weight of the squared weights, of standardised signals: enough to tell near copies apart, too little to matter."""


def fit_mark(
    curves: Sequence[Curve],
    marks: Sequence[Sequence[float]],
    signals: Sequence[str],
    *,
    relative: Sequence[str] = (),
) -> Mark:
    """Return the mark that comes nearest to a judge's marks: a logistic regression of `(mark - 1) / 9`.

    Args:
        curves: with the signals.
        marks: of every trial of every curve, 1 to 10.
        signals: what to read from.
        relative: those of them that count less their unsteered value.

    Raises:
        InputError: for no signal, or marks that do not belong to the curves.

    Source: Papke and Wooldridge (1996), "Econometric methods for fractional response variables".
    """
    if not signals:
        raise InputError("expected at least one signal to read from, got none")
    columns = [
        [
            value - (values[0] if name in relative else 0.0)
            for values in (curve.values(name) for curve in curves)
            for value in values
        ]
        for name in signals
    ]
    target = (np.array([mark for row in marks for mark in row], dtype=np.float64) - 1) / 9
    table = np.array(columns, dtype=np.float64).T
    if len(target) != len(table) or not len(table):
        raise InputError(f"expected a mark for each of {len(table)} trials, got {len(target)}")
    middle, spread = table.mean(0), np.maximum(table.std(0), 1e-9)
    standard = (table - middle) / spread

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = weights[0] + standard @ weights[1:]
        miss = 1 / (1 + np.exp(-z)) - target
        value = np.mean(np.logaddexp(0, z) - target * z) + SHRINKAGE * (weights[1:] ** 2).sum()
        slope = np.r_[miss.mean(), standard.T @ miss / len(target) + 2 * SHRINKAGE * weights[1:]]
        return float(value), slope

    found = minimize(loss, np.zeros(len(signals) + 1), jac=True, method="L-BFGS-B").x
    weights = found[1:] / spread
    return Mark(
        float(found[0] - weights @ middle),
        {name: float(weight) for name, weight in zip(signals, weights, strict=True)},
        tuple(name for name in signals if name in relative),
    )
