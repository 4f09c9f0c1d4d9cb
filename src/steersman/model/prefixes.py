"""Beginnings that token rows share: found, read once with a cache, and read on behind.

A row's own tokens follow the beginning at once and are padded on the right: padding between the two would be counted as
distance by some attention, and would fill sliding windows.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steersman.model.attention import attending, shareable, shared
from steersman.model.encode import Batch, forward_arguments, pad
from steersman.model.handle import Handle
from steersman.model.layout import cache_of

SHORTEST = 8
"""Tokens that rows must have in common at their beginning before it is read once for all of them."""

SPARED = 256
"""Tokens that a shared beginning must spare: it costs a pass of one row, and a model's first one a probe."""


@dataclass(frozen=True)
class Beginning:
    """What rows share, as it was read.

    Args:
        length: its tokens.
        cache: of one row, behind them.
    """

    length: int
    cache: Any


def shared_length(rows: Sequence[list[int]]) -> int:
    """Return how many first tokens all rows share; 0 where it does not pay to read them once."""
    length = _common(rows)
    return length if length >= SHORTEST and length * (len(rows) - 1) >= SPARED else 0


def by_beginning(rows: Sequence[list[int]]) -> list[list[int]]:
    """Return row numbers in groups, such that reading each group's own beginning spares tokens beyond the common one.

    Rows are parted where their tokens first differ, and the parts again. A part becomes a group when what it shares
    beyond what its rows share as they are grouped so far, times its rows, outweighs that its whole beginning is read.
    """
    groups: list[list[int]] = [[]]
    waiting = [(list(range(len(rows))), _common(rows), groups[0])] if rows else []
    while waiting:
        some, before, group = waiting.pop()
        place = _common([rows[row] for row in some])
        if (place - before) * (len(some) - 1) >= SPARED + place:
            before, group = place, list[int]()
            groups.append(group)
        parts: dict[int | None, list[int]] = {}
        for row in some:
            parts.setdefault(rows[row][place] if len(rows[row]) > place else None, []).append(row)
        for end, part in parts.items():
            if end is None or len(part) == 1:
                group += part
            else:
                waiting.append((part, before, group))
    return [group for group in groups if group]


def _common(rows: Sequence[list[int]]) -> int:
    """Return how many first tokens all rows share: in the order of a dictionary, what the first and the last do."""
    first, last = min(rows), max(rows)
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(last)))


def read_beginning(model: Handle, tokens: Sequence[int]) -> Beginning:
    """Return a beginning, read in one pass of one row."""
    batch = pad(model, [tokens], [len(tokens)])
    with attending(model.attention):
        output = model.layout.base(**forward_arguments(model, batch), use_cache=True)
    return Beginning(len(tokens), cache_of(output))


def arguments_behind(model: Handle, beginning: Beginning, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the arguments of a forward pass over the rows' own tokens, to be made inside `attending`.

    Args:
        model: the model.
        beginning: what all rows begin with.
        rows: whole rows, each longer than the beginning.
    """
    whole = pad(model, rows, [0] * len(rows), "right")
    own = Batch(whole.tokens[:, beginning.length :], whole.mask, whole.prompt_lengths)
    arguments = forward_arguments(model, own)
    if "position_ids" in model.accepts:
        arguments["position_ids"] = whole.positions[:, beginning.length :]
    first = torch.zeros(len(rows), dtype=torch.long, device=model.device)
    if model.attention and shareable(beginning.cache):
        cache = shared(beginning.cache, lambda _: first)
    else:
        # A copy: a pass leaves its own tokens in the cache.
        cache = copy.deepcopy(beginning.cache)
        cache.reorder_cache(first)
    return arguments | {"past_key_values": cache, "use_cache": True}
