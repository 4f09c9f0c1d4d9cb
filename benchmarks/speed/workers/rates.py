"""The machine's rate for the model's own matrix products, in the model's number format."""

import time
from typing import Any

import torch

ATTEMPTS = 5


def matrix_seconds(config: Any, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    """Return seconds per token of one block's and of the head's matrix products, each the best of some attempts.

    Args:
        config: the model's; a decoder with a gated MLP.
        dtype: of the matrices.
        rows: tokens of a product, as many as in a batch.
    """
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    shared = config.num_key_value_heads * head
    shapes = {
        "query": (width, heads * head),
        "key": (width, shared),
        "value": (width, shared),
        "output": (heads * head, width),
        "gate": (width, inner),
        "up": (width, inner),
        "down": (inner, width),
    }
    block = {name: product_seconds(rows, *shape, dtype) / rows for name, shape in shapes.items()}
    some = min(rows, 64)
    weights = sum(a * b for a, b in shapes.values())
    total = sum(block.values())
    return {
        "block": total,
        "head": product_seconds(some, width, config.vocab_size, dtype) / some,
        "gflop_per_second": 2 * weights / total / 1e9,
        "tokens": rows,
    }


@torch.inference_mode()
def product_seconds(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Return the seconds of the fastest of some products `[rows, inner] x [inner, columns]`."""
    left = torch.randn(rows, inner, dtype=dtype)
    right = torch.randn(columns, inner, dtype=dtype)
    best = float("inf")
    for _ in range(ATTEMPTS):
        begun = time.perf_counter()
        torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - begun)
    return best
