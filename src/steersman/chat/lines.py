"""Where lines come from: a person at a terminal, with editing and completion, or a file, one message a line."""

import sys
from collections.abc import Callable, Iterator
from typing import TextIO

try:
    import readline
except ImportError:  # a Python without it, as on Windows: lines come all the same
    readline = None

LONGEST = 200_000
"""Characters of a line that are read from a file."""


def typed(prompt: Callable[[], str], complete: Callable[[str], list[str]]) -> Iterator[str]:
    """Return the lines that a person types, until Ctrl-D; Ctrl-C raises, and the next line may be asked for.

    The history holds this conversation alone and is written nowhere.

    Args:
        prompt: what stands before the next line.
        complete: for an unfinished line, what could stand in the place of its last word.
    """
    if readline is not None:
        _prepare(complete)
    return _Typed(prompt)


def read(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long is cut.

    Args:
        file: such as standard input.
    """
    for line in file:
        yield line[:LONGEST].rstrip("\n")


class _Typed:
    # A generator would be over after its first KeyboardInterrupt.
    def __init__(self, prompt: Callable[[], str]) -> None:
        self._prompt = prompt

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return input(self._prompt())
        except EOFError:
            sys.stdout.write("\n")
            raise StopIteration from None
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            raise


def _prepare(complete: Callable[[str], list[str]]) -> None:
    assert readline is not None
    held = readline

    def completer(_: str, state: int) -> str | None:
        found = complete(held.get_line_buffer()[: held.get_endidx()])
        return found[state] + " " if state < len(found) else None

    held.set_completer(completer)
    held.set_completer_delims(" ")
    # libedit, which some systems have in its place, names its keys in another way.
    libedit = "libedit" in (held.__doc__ or "")
    held.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
