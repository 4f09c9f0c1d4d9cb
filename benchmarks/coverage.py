"""How often the intervals of `steersman.maths.statistics` hold the truth, nominal 95 %: tables of docs/statistics.md.

    python benchmarks/coverage.py

Tango's interval for a paired difference of rates is summed over all outcomes, exactly; the bootstrap-t for means is
simulated, 1,500 samples of each law and size, seeded.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import multinomial

from steersman.maths.statistics import LEVEL, mean_intervals, tango

SIZES = (30, 60, 100)
SAMPLES, CHUNK = 1_500, 250
CHANCES = ((0.25, 0.25), (0.1, 0.1), (0.3, 0.1), (0.5, 0.3), (0.9, 0.02), (0.05, 0.05), (0.1, 0.0), (0.01, 0.01))

Law = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def scores(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return differences of two scores from 1 to 10, the second one higher by one in the mean."""
    return draw.binomial(9, 0.6, shape) - draw.binomial(9, 0.6 - 1 / 9, shape)


def sparse(share: float) -> Law:
    """Return the law of values that are exponential, but zero in some share."""
    return lambda draw, shape: draw.exponential(1.0, shape) * (draw.random(shape) >= share)


LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda draw, shape: draw.normal(0.0, 1.0, shape), 0.0),
    "exponential (skewed)": (lambda draw, shape: draw.exponential(1.0, shape), 1.0),
    "log-normal (very skewed)": (lambda draw, shape: draw.lognormal(0.0, 1.0, shape), float(np.exp(0.5))),
    "Student's t with 3 degrees (heavy tails)": (lambda draw, shape: draw.standard_t(3, shape), 0.0),
    "scores 1 to 10, differences": (scores, 1.0),
    "half of the values zero": (sparse(0.5), 0.5),
    "nine of ten values zero": (sparse(0.9), 0.1),
}


def of_rates(gain: float, loss: float, n: int) -> float:
    """Return the exact coverage of Tango's interval where an item is gained and lost with these chances."""
    cells = [(g, lost) for g in range(n + 1) for lost in range(n + 1 - g)]
    weights = multinomial.pmf([(g, lost, n - g - lost) for g, lost in cells], n, (gain, loss, 1 - gain - loss))
    held = 0.0
    for (g, lost), weight in zip(cells, weights, strict=True):
        if weight > 1e-9:  # what is left out adds up to less than 0.001 %
            found = tango(g, lost, n)
            held += weight * (found.low - 1e-9 <= gain - loss <= found.high + 1e-9)
    return held


def of_means(law: Law, truth: float, n: int, seed: int = 0) -> tuple[float, float]:
    """Return the coverage of the bootstrap-t and of the percentile bootstrap."""
    draw = np.random.default_rng(seed)
    held = percentile = 0
    for _ in range(0, SAMPLES, CHUNK):
        columns = law(draw, (CHUNK, n)).astype(np.float64)
        for (found,) in mean_intervals(columns.tolist(), [(LEVEL,)] * CHUNK, int(draw.integers(2**31))):
            held += found.low <= truth <= found.high
        for column in columns:
            means = column[draw.integers(0, n, (1_000, n))].mean(1)
            low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            percentile += low <= truth <= high
    return held / SAMPLES, percentile / SAMPLES


def main() -> None:
    """Print both tables."""
    print("| chance of gaining / losing an item | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    for gain, loss in CHANCES:
        cells = " | ".join(f"{100 * of_rates(gain, loss, n):.1f}" for n in SIZES)
        print(f"| {gain:.0%} / {loss:.0%} | {cells} |", flush=True)
    print("\n| law | " + " | ".join(f"n = {n}" for n in SIZES) + " | percentile, n = 30 |")
    for name, (law, truth) in LAWS.items():
        found = [of_means(law, truth, n) for n in SIZES]
        cells = " | ".join(f"{100 * own:.1f}" for own, _ in found)
        print(f"| {name} | {cells} | {100 * found[0][1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
