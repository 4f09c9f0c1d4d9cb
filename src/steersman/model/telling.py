"""What a row that is being written says so far: pieces of text that never have to be taken back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What the tokenizer gives for the first bytes of a character whose others are still to come."""


@dataclass(frozen=True)
class Token:
    """One token of an answer.

    Args:
        id: its number in the vocabulary.
        text: what it adds to the answer's text; empty where a later token finishes the character that it begins.
        logprob: its log-probability, nats, under the steered model, before temperature; `None` where not asked for.
        top: the most likely tokens there, with theirs, most likely first.
    """

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(eq=False)
class Telling:
    """Turns one row's tokens into tokens with their text.

    A token is told once its text is certain: it is kept back while a character is unfinished, and while what has been
    said may be the beginning of a stop text.

    Args:
        tokenizer: of the model.
        stop: texts that end the answer and are no part of it.
        stopped: whether one of them has come.
    """

    tokenizer: Any
    stop: Sequence[str] = ()
    stopped: bool = field(init=False, default=False)
    text: str = field(init=False, default="")
    _ids: list[int] = field(init=False, default_factory=list)
    _kept: list[Token] = field(init=False, default_factory=list)
    _from: int = field(init=False, default=0)
    _upto: int = field(init=False, default=0)
    _told: int = field(init=False, default=0)

    def add(self, token: Token) -> list[Token]:
        """Return the tokens that can be told with this one, each with its text.

        Args:
            token: the next one; its text is made here.
        """
        self._ids.append(token.id)
        before = len(self.text)
        self.text += self._piece()
        self._kept.append(Token(token.id, self.text[before:], token.logprob, token.top))
        if any(stop in self.text[max(0, before - len(stop)) :] for stop in self.stop):
            self.stopped = True
            return self._tell(min(at for stop in self.stop if (at := self.text.find(stop)) >= 0))
        if self._upto < len(self._ids):
            return []
        return self._tell(len(self.text) - self._doubtful())

    def end(self) -> list[Token]:
        """Return the tokens that were kept back, when nothing follows."""
        if self.stopped:
            return []
        # The whole text as one: the pieces differ from it at most behind an unfinished character.
        whole = self._decode(self._ids)
        if self._kept and whole.startswith(self.text):
            last = self._kept.pop()
            self._kept.append(Token(last.id, last.text + whole[len(self.text) :], last.logprob, last.top))
        self.text = whole
        told, self._kept = self._kept, []
        return told

    def _tell(self, certain: int) -> list[Token]:
        """Return the tokens whose text lies within so many first characters; where stopped, cut there."""
        told: list[Token] = []
        while self._kept and self._told + len(self._kept[0].text) <= certain:
            told.append(self._kept.pop(0))
            self._told += len(told[-1].text)
        if self.stopped:
            if self._kept and certain > self._told:
                last = self._kept[0]
                told.append(Token(last.id, last.text[: certain - self._told], last.logprob, last.top))
            self._kept, self.text = [], self.text[:certain]
        return told

    def _doubtful(self) -> int:
        """Return how many last characters may be the beginning of a stop text."""
        lengths = (n for stop in self.stop for n in range(min(len(stop) - 1, len(self.text)), 0, -1)
                   if self.text.endswith(stop[:n]))  # fmt: skip
        return max(lengths, default=0)

    def _piece(self) -> str:
        """Return the text that the last tokens add; empty while a character is unfinished."""
        # With some tokens before them: many tokenizers write a word's first token otherwise where a text begins.
        before = self._decode(self._ids[self._from : self._upto])
        now = self._decode(self._ids[self._from :])
        if now.endswith(UNFINISHED) or not now.startswith(before):
            return ""
        self._from, self._upto = self._upto, len(self._ids)
        return now[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True) if ids else ""
