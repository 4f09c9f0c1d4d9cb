"""A cache with room to grow: a new token is written behind the others, in the place of copying all of them.

transformers' dynamic cache joins old and new keys and values at every token, which for many rows takes as long as the
model's own products. Here a block's keys and values lie in tensors with some positions to spare.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Positions that are made at a time."""


class GrowingLayer(DynamicLayer):
    """One block's keys and values, `[batch, heads, length, d]`, the first positions of longer tensors.

    Args:
        keys: of the positions so far.
        values: the same.
    """

    keys: Any
    values: Any

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._take(keys, values)

    def _take(self, keys: Tensor, values: Tensor) -> None:
        length = keys.shape[2]
        self._room = tuple(pad(part, (0, 0, 0, ROOM)) for part in (keys, values))
        self.keys, self.values = (part[:, :, :length] for part in self._room)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write new positions behind the others, and return all of them."""
        start = self.keys.shape[2]
        stop = start + key_states.shape[2]
        if stop > self._room[0].shape[2]:
            more = stop - start
            self._room = tuple(pad(part, (0, 0, 0, max(ROOM, more))) for part in (self.keys, self.values))
        for part, states in zip(self._room, (key_states, value_states), strict=True):
            part[:, :, start:stop] = states
        self.keys, self.values = (part[:, :, :stop] for part in self._room)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep (or repeat) rows."""
        index = beam_idx.to(self.keys.device)
        self._take(self.keys.index_select(0, index), self.values.index_select(0, index))

    def leave_out(self, count: int) -> None:
        """Leave the first positions out."""
        self._take(self.keys[:, :, count:], self.values[:, :, count:])

    def join(self, other: Any) -> None:
        """Set another layer's rows behind these, all ending at the same position."""
        longest = max(self.keys.shape[2], other.keys.shape[2])
        both = ([self.keys, other.keys], [self.values, other.values])
        keys, values = (torch.cat([pad(part, (0, 0, longest - part.shape[2], 0)) for part in parts]) for parts in both)
        self._take(keys, values)


def growing(cache: Any) -> bool:
    """Let a cache grow in place, where each of its blocks keeps all positions; return whether it does.

    Args:
        cache: its layers are exchanged.
    """
    layers = getattr(cache, "layers", None) or []
    if any(type(layer) not in (DynamicLayer, GrowingLayer) or not layer.is_initialized for layer in layers):
        return False
    cache.layers = [
        layer if isinstance(layer, GrowingLayer) else GrowingLayer(layer.keys, layer.values) for layer in layers
    ]
    return bool(layers)
