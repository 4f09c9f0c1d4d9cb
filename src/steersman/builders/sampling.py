"""Seeded samples: the same seed draws the same items, on every machine."""

from collections.abc import Hashable, Sequence
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
    _check(limit)
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(Random(seed).sample(range(len(items)), limit))
    return [items[index] for index in chosen]


def balanced(items: Sequence[T], limit: int | None, seed: int, kinds: Sequence[Hashable]) -> list[T]:
    """Return `limit` of the items with as many of each kind as there can be, left in their order.

    Items at even distances would not do: files of questions often alternate between Yes and No, and every second one
    is then of one kind.

    Args:
        items: what to draw from.
        limit: how many, at least 1; `None` takes all.
        seed: of the draw.
        kinds: of each item.

    Raises:
        InputError: for a limit below 1.
    """
    _check(limit)
    draw = Random(seed)
    waiting: dict[Hashable, list[int]] = {}
    for index in draw.sample(range(len(items)), len(items)):
        waiting.setdefault(kinds[index], []).append(index)
    # One of each kind at a time, until there is no room or no item left.
    turns = sorted((turn, place) for places in waiting.values() for turn, place in enumerate(places))
    return [items[index] for index in sorted(place for _, place in turns[:limit])]


def _check(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit of at least 1, got {limit}")
