"""What the cosines foretold, beside what was measured.

Two predictions, both made before anything combined is measured. In a combination, how much of its single setting's
effect each behaviour keeps: the predicted effect along its axis over its own coefficient. Between two behaviours, which
way one's single setting moves the other: the sign of the cosine at the layer where it is added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from steersman.maths.statistics import Estimate, wilson

RESAMPLES = 2_000


@dataclass(frozen=True)
class Prediction:
    """One behaviour under one setting.

    Args:
        setting: its name.
        behaviour: whose.
        predicted: effect along its axis over its single setting's coefficient; 1 keeps all of it.
        measured: its margin's change over that of its single setting, on the same items.
        counts: whether the single setting moved it at all, its interval leaving out zero; a share of nothing says
            nothing, and is left out of the agreement.
    """

    setting: str
    behaviour: str
    predicted: float
    measured: Estimate
    counts: bool

    @property
    def agrees(self) -> bool:
        """Whether both have one sign."""
        return (self.predicted > 0) == (self.measured.value > 0)

    def plain(self) -> dict[str, Any]:
        """Return the prediction as the record says it."""
        return asdict(self) | {"agrees": self.agrees}


@dataclass(frozen=True)
class Agreement:
    """How far predictions hold.

    Args:
        n: predictions that count.
        sign_agreement: share with the predicted sign, Wilson interval; `None` of none.
        rank_correlation: Spearman's, with the bootstrap interval over predictions; `None` of fewer than 3, or where one
            side is constant.
        sentence: in words.
    """

    n: int
    sign_agreement: Estimate | None
    rank_correlation: Estimate | None
    sentence: str


def ratio(part: Sequence[float], whole: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Return the ratio of two means over the same items, with its percentile bootstrap interval over items.

    Where resamples of the whole come near zero the interval is wide, as it should be.

    Args:
        part: a change for each item.
        whole: the change that it is a share of, for the same items.
        seed: of the resampling.
        resamples: draws.
    """
    one, two = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    n = len(one)
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    values = _divided(one[drawn].mean(1), two[drawn].mean(1))
    low, high = np.quantile(values, [0.025, 0.975])
    value = float(_divided(one.mean(keepdims=True), two.mean(keepdims=True))[0])
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def agreement(
    predicted: Sequence[float], measured: Sequence[float], seed: int, what: str, resamples: int = RESAMPLES
) -> Agreement:
    """Return how far predictions hold: in sign, and in order.

    Predictions of one behaviour under many settings hang together, so that the intervals are rather too narrow.

    Args:
        predicted: as foretold.
        measured: as it came.
        seed: of the resampling.
        what: the predictions, in the words of the sentence.
        resamples: draws.
    """
    n = len(predicted)
    if not n:
        return Agreement(0, None, None, f"No {what} could be held against a measurement.")
    one, two = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    agreed = int(((one > 0) == (two > 0)).sum())
    sign = wilson(agreed, n)
    words = f"Of {n} {what}, {agreed} had the predicted sign ({sign.value:.0%}, {sign.low:.0%} to {sign.high:.0%})"
    rank = _rank_correlation(one, two, seed, resamples) if n >= 3 else None
    words += (
        f"; predicted and measured sizes have a rank correlation of {rank.value:+.2f} ({rank.low:+.2f} to "
        f"{rank.high:+.2f})."
        if rank
        else "; their order cannot be told."
    )
    return Agreement(n, sign, rank, words)


def interference(
    changes: Mapping[tuple[str, int, str], Estimate], cosines: Mapping[tuple[str, int, str], float], threshold: float
) -> list[dict[str, Any]]:
    """Return for every behaviour's single setting what it did to every other, beside what the cosine foretold.

    Args:
        changes: the other's margin change, by behaviour, sign and other.
        cosines: between the two at the first's layer, by the same keys.
        threshold: size of a cosine from which on the two are said to fight or reinforce each other.
    """
    rows: list[dict[str, Any]] = []
    for key, change in changes.items():
        (behaviour, sign, other), cosine = key, cosines[key]
        relation = "apart" if abs(cosine) < threshold else "fight" if cosine < 0 else "reinforce"
        rows.append(
            {
                "behaviour": behaviour,
                "sign": sign,
                "other": other,
                "cosine": cosine,
                "relation": relation,
                "margin_change": asdict(change),
                "agrees": (sign * cosine > 0) == (change.value > 0),
            }
        )
    return rows


def _rank_correlation(one: NDArray[np.float64], two: NDArray[np.float64], seed: int, resamples: int) -> Estimate | None:
    value = float(_correlations(one[None], two[None])[0])
    if np.isnan(value):
        return None
    drawn = np.random.default_rng(seed).integers(len(one), size=(resamples, len(one)))
    values = _correlations(one[drawn], two[drawn])
    low, high = np.quantile(values[~np.isnan(values)], [0.025, 0.975])
    return Estimate(value, min(float(low), value), max(float(high), value), len(one))


def _correlations(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's correlation of every row `[rows, n]`; NaN where one side is constant."""
    first, second = (np.asarray(rankdata(side, axis=1), np.float64) for side in (one, two))
    first, second = first - first.mean(1, keepdims=True), second - second.mean(1, keepdims=True)
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.where(size > 0, (first * second).sum(1) / np.where(size > 0, size, 1.0), np.nan)


def _divided(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    # A whole of exactly nothing has no share: as far off as numbers that are written to files may be.
    return np.clip(one / np.where(two == 0, 1e-12, two), -1e6, 1e6)
