"""What a person sees of a chat: answers as they are written, notes, tables; or a JSON line for each answer.

Text that a model wrote may hold anything: control characters are taken out before it reaches a terminal, and no part of
it is read as markup.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, final

from rich.console import Console
from rich.live import Live as Redrawn
from rich.table import Table
from rich.text import Text

from steersman.chat.history import Turn
from steersman.chat.wrapping import Wrapping

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

ENDS = {"length": "cut off at the longest answer; /length N allows more", "cancelled": "stopped"}


Show = Callable[[Mapping[str, str]], None]
"""Shows two answers so far, by what stands above them."""

WIDE = 160
"""Columns of a table where there is no terminal."""


def clean(text: str) -> str:
    """Return a text without control characters other than new lines and tabs."""
    return _CONTROL.sub("", text)


class Screen(Protocol):
    """What the chat shows itself on."""

    def note(self, text: str) -> None:
        """Say something that is no answer."""
        ...

    def warn(self, text: str) -> None:
        """Say something that a person must not miss."""
        ...

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show rows under heads."""
        ...

    def piece(self, text: str) -> None:
        """Show what an answer goes on with."""
        ...

    def answered(self, turn: Turn, warnings: Sequence[str], /) -> None:
        """Show that an answer has come to its end."""
        ...

    def comparing(self) -> AbstractContextManager[Show]:
        """Return a context that gives a function to show two answers as they are written, and ends with the whole."""
        ...

    def compared(self, said: str, answers: Mapping[str, str], /) -> None:
        """Show two answers to one message, whole."""
        ...


@final
class TextScreen:
    """A terminal, or a file that gets the answers as plain text.

    Args:
        out: where answers go.
        err: where notes go; on a terminal that is the same one.
    """

    def __init__(self, out: Console, err: Console) -> None:
        self.out = out
        self.err = out if out.is_terminal else err
        # One cell is left free: a terminal breaks a line that fills it to the last.
        self._wrapping = Wrapping(out.width - 1 if out.is_terminal else None)

    def note(self, text: str) -> None:
        """Say something in a dim line."""
        self.err.print(Text(clean(text), style="dim"), soft_wrap=not self.err.is_terminal)

    def warn(self, text: str) -> None:
        """Say something in a line that stands out."""
        line = Text(f"warning: {clean(text)}", style="bold yellow")
        self.err.print(line, soft_wrap=not self.err.is_terminal)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table as wide as the terminal."""
        table = Table(box=None, pad_edge=False)
        for head in heads:
            table.add_column(Text(head), overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self.err.print(table, width=None if self.err.is_terminal else WIDE)

    def piece(self, text: str) -> None:
        """Show what an answer goes on with, as soon as its words are whole."""
        self._write(self._wrapping.feed(clean(text)))

    def answered(self, turn: Turn, _: Sequence[str], /) -> None:
        """End the answer's line, and say where the answer did not end by itself."""
        self._write(self._wrapping.rest() + "\n")
        if turn.finish in ENDS:
            self.note(f"({ENDS[turn.finish]})")

    @contextmanager
    def comparing(self) -> Iterator[Show]:
        """Redraw both answers as they are written; only on a terminal."""
        if not self.out.is_terminal:
            yield lambda _: None
            return
        with Redrawn(console=self.out, refresh_per_second=8, transient=True, vertical_overflow="ellipsis") as drawn:
            yield lambda answers: drawn.update(_beside(answers))

    def compared(self, _: str, answers: Mapping[str, str], /) -> None:
        """Show both answers beside each other, or below where there is no terminal to say how wide."""
        if self.out.is_terminal:
            self.out.print(_beside(answers))
            return
        for head, text in answers.items():
            self._write(f"[{head}] {clean(text)}\n")

    def _write(self, text: str) -> None:
        self.out.print(Text(text), end="", soft_wrap=True)


@final
class JsonScreen:
    """One JSON object a line for each answer on one console, everything else in words on another.

    Args:
        out: where the objects go.
        err: where notes go.
    """

    def __init__(self, out: Console, err: Console) -> None:
        self.out = out
        self._words = TextScreen(err, err)

    def note(self, text: str) -> None:
        """Say it beside the results."""
        self._words.note(text)

    def warn(self, text: str) -> None:
        """Say it beside the results; an answer's warnings stand in its object as well."""
        self._words.warn(text)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show it beside the results."""
        self._words.table(heads, rows)

    def piece(self, text: str) -> None:
        """Show nothing: the answer comes whole."""

    def answered(self, turn: Turn, warnings: Sequence[str], /) -> None:
        """Write the answer's object."""
        self._write(
            {
                "user": turn.said,
                "assistant": turn.answer,
                "finish": turn.finish,
                "steering": list(turn.steering),
                "steps": list(turn.steps),
                "warnings": list(warnings),
            }
        )

    @contextmanager
    def comparing(self) -> Iterator[Show]:
        """Show nothing until both are whole."""
        yield lambda _: None

    def compared(self, said: str, answers: Mapping[str, str], /) -> None:
        """Write an object with both answers."""
        (_, plain), (steering, steered) = answers.items()
        self._write({"user": said, "unsteered": plain, "steered": steered, "steering": steering})

    def _write(self, record: Mapping[str, Any]) -> None:
        self.out.file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.out.file.flush()


def _beside(answers: Mapping[str, str]) -> Table:
    table = Table(expand=True, show_lines=False)
    for head in answers:
        table.add_column(Text(head), overflow="fold", ratio=1)
    table.add_row(*(Text(clean(text).strip()) for text in answers.values()))
    return table
