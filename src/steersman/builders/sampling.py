"""Seeded samples: the same seed draws the same items, on every machine."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from steersman.errors import InputError

T = TypeVar("T")


def sampled(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """Return `limit` of the items, drawn without replacement and left in their order; all where there are no more.

    Args:
        items: what to draw from.
        limit: how many, at least 1; `None` takes all.
        seed: of the draw.

    Raises:
        InputError: for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit of at least 1, got {limit}")
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(Random(seed).sample(range(len(items)), limit))
    return [items[index] for index in chosen]
