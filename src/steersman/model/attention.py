"""Attention on a CPU by matrix products that stay in its cache, behind beginnings that many rows share uncopied.

PyTorch's fused attention reaches a tenth of the rate of a CPU's matrix products. Here a few rows are taken at a time,
so that their scores never leave the cache: two products with a softmax in float32 between them, heads that look at the
same keys in one. Rows behind a shared beginning get its keys and values only then: copied for all rows beforehand, and
for every head that looks at them, they would go through memory again and again.

It takes the place of `sdpa` while steersman reads, by transformers' registry of attention functions, in models that
were found to come out the same (`trial.attends`). Whatever it does not know, it hands to `sdpa`.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

NAME = "steersman"
"""Of this attention in transformers' registries."""

SCORES = 2**19
"""Scores that are computed at a time, 2 MiB in float32: about what a core's cache holds."""
FEWEST = 32
"""Queries of a row at a time, with which the products are still fast."""

OTHERS = ("position_bias", "softcap", "s_aux", "cache", "output_attentions")
"""Arguments of attention functions that are not taken into account here: with one of them, `sdpa` is asked."""

AttentionInterface.register(NAME, lambda *args, **arguments: attend(*args, **arguments))
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])

_latest = threading.local()


class SharedLayer(DynamicLayer):
    """One block's keys and values behind beginnings that several rows share; good for one pass.

    Args:
        layer: the beginnings' keys and values, `[beginnings, heads, length, d]`.
        rows: `[rows]` the beginning of each row.
        padded: whether some of the beginnings' tokens are padding; all are seen otherwise.
    """

    def __init__(self, layer: Any, rows: Tensor, *, padded: bool = False) -> None:
        super().__init__()
        self.padded = padded
        self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
        self.before: tuple[Tensor, Tensor] = (layer.keys, layer.values)
        self.rows = rows.to(layer.keys.device)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the rows' own keys and values; `attend` finds the beginnings by them."""
        key_states.behind = self  # type: ignore[attr-defined]
        return key_states, value_states

    def whole(self, keys: Tensor, values: Tensor, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return the keys and values of some rows with their beginnings, given those of their own."""
        first, second = (part[self.rows[rows]] for part in self.before)
        return torch.cat([first, keys], 2), torch.cat([second, values], 2)

    def get_seq_length(self) -> int:
        """Return the beginnings' length."""
        return self.before[0].shape[2]


def shared(cache: Any, rows: Callable[[int], Tensor], *, padded: bool = False) -> Any:
    """Return a cache for one pass of rows behind the beginnings in another, which stays as it is.

    Args:
        cache: what was read of the beginnings.
        rows: for a block's number, the `[rows]` beginnings of its rows.
        padded: whether some of the beginnings' tokens are padding.
    """
    found = copy.copy(cache)
    found.layers = []
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            found.layers.append(SharedLayer(layer, rows(number), padded=padded))
        else:
            other: Any = copy.deepcopy(layer)
            other.reorder_cache(rows(number))
            found.layers.append(other)
    return found


def shareable(cache: Any) -> bool:
    """Return whether beginnings in a cache can be looked at where they are."""
    return any(type(layer) is DynamicLayer and layer.is_initialized for layer in getattr(cache, "layers", None) or [])


def configurations(base: Any) -> list[Any]:
    """Return the configurations by which a decoder's modules choose `sdpa`, each once."""
    found = {id(module.config): module.config for module in base.modules() if hasattr(module, "config")}
    return [each for each in found.values() if getattr(each, "_attn_implementation_internal", None) == "sdpa"]


@contextmanager
def attending(configs: list[Any]) -> Iterator[None]:
    """Let models attend in this way inside.

    Args:
        configs: theirs, as `configurations` finds them.
    """
    try:
        for config in configs:
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config in configs:
            config._attn_implementation_internal = "sdpa"
        _latest.__dict__.clear()


@torch.compiler.disable
def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return `[rows, length, heads, d]` what the queries saw.

    Args:
        module: the attention's module.
        query: `[rows, heads, length, d]`.
        key: `[rows, groups, keys, d]`, those of the rows themselves where they share a beginning.
        value: the same.
        attention_mask: `[rows or 1, 1, length, all keys]`, true where a key is seen; none where each token sees all
            before it.
        dropout: share of what is seen that is forgotten.
        scaling: of the scores; one over the root of d where not given.
        is_causal: whether tokens see none after them; as the module says where not given.
        others: further arguments of transformers' attention functions.
    """
    behind: SharedLayer | None = getattr(key, "behind", None)
    length, keys = query.shape[2], key.shape[2] + (behind.get_seq_length() if behind else 0)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None:
        known = causal and length == keys
    else:
        known = attention_mask.dtype == torch.bool and attention_mask.shape[1:] == (1, length, keys)
    unknown = dropout or any(others.get(name) is not None and others[name] is not False for name in OTHERS)
    if not known or unknown or length == 1 or query.device.type != "cpu":
        if behind is not None:
            key, value = behind.whole(key, value)
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **others
        )
    # Of a beginning without padding every token is seen.
    first = behind.get_seq_length() if behind is not None and not behind.padded else 0
    seen = _triangle(length) if attention_mask is None else attention_mask[..., first:]
    asked = query.float() * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    out = query.new_empty(*query.shape[:3], value.shape[-1])
    step = max(1, SCORES // (query.shape[1] * length * keys))
    for start in range(0, len(query), step):
        rows = slice(start, start + step)
        parts = (key[rows], value[rows]) if behind is None else behind.whole(key[rows], value[rows], rows)
        _fill(out[rows], asked[rows], *parts, seen[rows] if len(seen) > 1 else seen, _bias(seen, rows))
    return out.transpose(1, 2).contiguous(), None


def _fill(out: Tensor, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, bias: Tensor) -> None:
    """Fill in what some rows see, all at once or, where they are long, a few of the queries at a time.

    Args:
        out: `[rows, heads, length, d]`.
        query: the same in float32, scaled: scores that are rounded to fewer digits would be off where they are large.
        key: `[rows, groups, keys, d]`.
        value: the same.
        seen: `[rows or 1, 1, length, last keys]`, true where a key is seen; those before are seen by all.
        bias: the same in what is added to scores.
    """
    rows, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    wide = key.float().transpose(2, 3)
    step = max(FEWEST, SCORES // (heads * keys))
    for start in range(0, length, step):
        part = slice(start, min(start + step, length))
        # Usually no token sees what comes after it: keys behind the part's last query are left out.
        last = part.stop - length or None
        if last is not None and seen[:, :, part, last:].any():
            last = None
        together = query[:, :, part].reshape(rows, groups, -1, width)
        scores = (together @ wide[..., :last]).view(rows, heads, part.stop - start, -1)
        own = bias[:, :, part, :last]
        scores[..., scores.shape[3] - own.shape[3] :] += own
        weights = scores.softmax(-1).to(value.dtype).view(rows, groups, -1, scores.shape[3])
        out[:, :, part] = (weights @ value[:, :, :last]).view(rows, heads, part.stop - start, -1)


def _triangle(length: int) -> Tensor:
    """Return the mask with which each token sees itself and what came before it; the latest is kept."""
    found = getattr(_latest, "triangle", None)
    if found is None or found.shape[2] != length:
        found = _latest.triangle = torch.ones(1, 1, length, length, dtype=torch.bool).tril_()
    return found


def _bias(seen: Tensor, rows: slice) -> Tensor:
    """Return what is added to some rows' scores, float32; the latest mask's is kept, which all blocks of a pass share.

    Padding that sees nothing sees everything alike: its numbers stay finite.
    """
    key = (seen.data_ptr(), tuple(seen.shape), seen.stride())
    if getattr(_latest, "key", None) != key:
        least = torch.finfo(torch.float32).min
        _latest.bias = torch.zeros(seen.shape).masked_fill_(~seen, least)
        _latest.key, _latest.mask = key, seen  # the mask is held so that no other comes to lie where it lay
    return _latest.bias[rows] if len(seen) > 1 else _latest.bias
