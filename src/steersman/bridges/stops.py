"""Stop sequences: where a text that is being written ends before the model ends it."""

from collections.abc import Callable, Sequence
from typing import Any


def stopping(tokenizer: Any, until: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Return what says whether the tokens written so far hold a stop sequence at their end; nothing without one.

    Args:
        tokenizer: of the model.
        until: the stop sequences; empty ones stop nothing.
    """
    wanted = [text for text in until if text]
    if not wanted:
        return None
    # A token is at least one byte long, so that no more than these can hold the longest one; two more, since a
    # sequence can begin within a token, and end within one.
    window = max(len(text.encode()) for text in wanted) + 2

    def ended(tokens: Sequence[int]) -> bool:
        text = tokenizer.decode(list(tokens[-window:]))
        return any(stop in text for stop in wanted)

    return ended
