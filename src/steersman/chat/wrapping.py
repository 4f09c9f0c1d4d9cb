"""Wrapping a text that is still being written: a word is held back until its line is known to have room for it."""

import re

from rich.cells import cell_len

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")


class Wrapping:
    """Breaks lines between words, as pieces of a text come.

    Args:
        width: cells of a line; `None` leaves lines as they are.
    """

    def __init__(self, width: int | None) -> None:
        self.width = width
        self._at = 0
        self._space = ""
        self._word = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now.

        Args:
            piece: what the text goes on with.
        """
        if self.width is None:
            return piece
        shown = ""
        for part in _PARTS.findall(piece):
            if not part.isspace():
                self._word += part
                continue
            shown += self._placed()
            if part == "\n":
                shown, self._at, self._space = shown + "\n", 0, ""
            else:
                self._space += part
        # A word that fills a line by itself is not worth waiting for.
        return shown + self._placed() if cell_len(self._word) >= self.width else shown

    def rest(self) -> str:
        """Return what was held back at the text's end, and begin anew."""
        shown = self._placed() + self._space
        self._at, self._space = 0, ""
        return shown

    def _placed(self) -> str:
        """Return the word that was held back, on the next line where this one has no room for it."""
        if not self._word:
            return ""
        assert self.width is not None
        size = cell_len(self._space) + cell_len(self._word)
        breaks = self._at > 0 and self._at + size > self.width
        shown = "\n" + self._word if breaks else self._space + self._word
        self._at = cell_len(self._word) if breaks else self._at + size
        self._space = self._word = ""
        return shown
