"""Resamples of many columns at once: every column of one length shares the draws, so that a table costs one pass.

A column's result depends on the column, its length and the seed, and on no other column: products are always taken in
panels of one shape.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CELLS = 2_000_000
"""Numbers of a block of draws, which bounds the memory (16 MB) for any number of items."""

PANEL = 8
"""Columns of one product. Always as many: how a library adds up may depend on the shape of what it is given."""


def bootstrap_moments(columns: Array, seed: int, resamples: int) -> tuple[Array, Array]:
    """Return the mean and the mean square of every column in every bootstrap resample, each `[resamples, k]`.

    Args:
        columns: `[n, k]`; whole rows are drawn.
        seed: of the draws.
        resamples: how many.
    """
    n = columns.shape[0]
    means: list[Array] = []
    squares: list[Array] = []
    for counts in _counts(n, seed, resamples):
        means.append(_product(counts, columns) / n)
        squares.append(_product(counts, columns**2) / n)
    return np.concatenate(means), np.concatenate(squares)


def flipped_sums(columns: Array, seed: int, draws: int) -> Array:
    """Return every column's sum with the signs of its items turned at random, `[draws, k]`.

    Args:
        columns: `[n, k]`.
        seed: of the draws.
        draws: how many.
    """
    return np.concatenate([_product(signs, columns) for signs in _signs(columns.shape[0], seed, draws)])


def _counts(n: int, seed: int, resamples: int) -> Iterable[Array]:
    """Return how often each of n items is drawn, block by block `[draws, n]`."""
    return _few_counts(n, seed, resamples) if n * resamples <= CELLS else _draw_counts(n, seed, resamples)


def _signs(n: int, seed: int, draws: int) -> Iterable[Array]:
    """Return signs of n items, block by block `[draws, n]`."""
    return _few_signs(n, seed, draws) if n * draws <= CELLS else _draw_signs(n, seed, draws)


def _draw_counts(n: int, seed: int, resamples: int) -> Iterator[Array]:
    draw = np.random.default_rng(seed)
    for size in _blocks(n, resamples):
        chosen = draw.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _draw_signs(n: int, seed: int, draws: int) -> Iterator[Array]:
    draw = np.random.default_rng(seed)
    for size in _blocks(n, draws):
        yield (2 * draw.integers(2, size=(size, n)) - 1).astype(np.float64)


# What fits one block is kept: the tasks of a study, and studies simulated by the hundred, ask for the same draws again.
@lru_cache(maxsize=2)
def _few_counts(n: int, seed: int, resamples: int) -> tuple[Array, ...]:
    return tuple(_draw_counts(n, seed, resamples))


@lru_cache(maxsize=2)
def _few_signs(n: int, seed: int, draws: int) -> tuple[Array, ...]:
    return tuple(_draw_signs(n, seed, draws))


def _blocks(n: int, total: int) -> Iterator[int]:
    size = max(1, min(total, CELLS // n))
    for start in range(0, total, size):
        yield min(size, total - start)


def _product(left: Array, columns: Array) -> Array:
    n, k = columns.shape
    padded = np.zeros((n, -(-k // PANEL) * PANEL))
    padded[:, :k] = columns
    panels = [left @ np.ascontiguousarray(padded[:, i : i + PANEL]) for i in range(0, padded.shape[1], PANEL)]
    return np.concatenate(panels, axis=1)[:, :k]
