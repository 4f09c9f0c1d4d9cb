"""How many tokens a forward pass takes in: as many as the machine works through well, and has room for.

Budgets follow from the model's shape and the device's whole memory, not from what happens to be free: batches, and with
them rounding, are the same whenever the same command runs on the same machine.
"""

import os
from typing import Any

import torch

CPU_TOKENS = 512
"""A CPU is as fast with few tokens, and small batches are padded less."""
CPU_FORKED = 8
"""Times as many may come to be where a pass forks: what they share is read with few rows, which is slow with fewer."""
FEWEST, MOST = 1024, 16384
"""Tokens of a pass on a GPU, at least and at most."""
MOST_ROWS = 192
"""Rows under way beyond which little is gained: a step then takes nearly as much longer as there are more."""
CACHED = 8
"""The share of a device's memory that the keys and values of the rows under way may take is one in so many."""


def pass_tokens(model: Any) -> int:
    """Return how many tokens are to enter one forward pass, padding counted.

    Args:
        model: a handle.
    """
    if model.device.type != "cuda":
        return CPU_TOKENS
    # A thirty-second of the memory, at 24 numbers of 2 bytes a token for every coordinate of the stream: an MLP's inner
    # activations, queries, keys, values, the stream itself.
    return max(FEWEST, min(MOST, _memory(model.device) // (32 * 48 * model.width)))


def forked_tokens(model: Any) -> int:
    """Return how many tokens a pass may hold behind its last fork.

    Args:
        model: a handle.
    """
    return pass_tokens(model) * (CPU_FORKED if model.device.type != "cuda" else 1)


def rows_under_way(model: Any, rows: Any, limit: int) -> int:
    """Return how many rows are to be written at a time.

    Args:
        model: a handle.
        rows: the prompts.
        limit: tokens written to each at most.
    """
    return room_for(model, max(map(len, rows.tokens)) + limit)


def room_for(model: Any, longest: int) -> int:
    """Return how many rows are to be under way at a time.

    Args:
        model: a handle.
        longest: tokens of the longest of them, prompt and what is to be written.
    """
    each = 2 * model.depth * model.width * torch.finfo(model.dtype).bits // 8
    return max(1, min(MOST_ROWS, _memory(model.device) // CACHED // (each * longest)))


def _memory(device: torch.device) -> int:
    """Return a device's memory, bytes; where nobody tells, that of a small machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30
