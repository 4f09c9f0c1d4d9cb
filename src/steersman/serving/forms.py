"""Answers in the forms of the OpenAI API: whole ones and pieces of a stream, of chats and of texts."""

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.model.generate import Generation
from steersman.model.handle import Handle
from steersman.model.live import Token

LOWEST = -9999.0
"""Stands for the log-probability of what cannot be, which JSON has no number for."""


@dataclass(frozen=True)
class Form:
    """How one request is answered.

    Args:
        model: what answers.
        chat: a chat, or a text.
        logprobs: whether log-probabilities are told.
        usage: whether every piece of a stream has a field for them, and a last piece tells them.
    """

    model: Handle
    chat: bool
    logprobs: bool
    usage: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, *, piece: bool = False) -> dict[str, Any]:
        """Return what every answer, or piece of one, begins with."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": kind + (".chunk" if piece and self.chat else ""),
            "created": self.created,
            "model": self.model.name,
        }

    def whole(self, answers: Sequence[tuple[Generation, Sequence[Token]]], read: int) -> dict[str, Any]:
        """Return a whole answer.

        Args:
            answers: each with its tokens.
            read: tokens of the prompts.
        """
        choices: list[dict[str, Any]] = []
        for index, (generation, tokens) in enumerate(answers):
            said = {"message": {"role": "assistant", "content": generation.text}} if self.chat else {}
            text = {} if self.chat else {"text": generation.text}
            logprobs = self._logprobs(tokens) if self.logprobs else None
            choices.append({"index": index, **said, **text, "logprobs": logprobs, "finish_reason": generation.finish})
        written = sum(len(generation.tokens) for generation, _ in answers)
        return self.head() | {"choices": choices, "usage": usage(read, written)}

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Return the pieces that a choice begins with."""
        return [self._piece(index, {"role": "assistant", "content": ""}, None)] if self.chat else []

    def piece(self, index: int, token: Token, offset: int) -> dict[str, Any]:
        """Return a token as a piece of a stream.

        Args:
            index: of the choice.
            token: the token.
            offset: characters of the choice before it.
        """
        logprobs = self._logprobs([token], offset) if self.logprobs else None
        said = {"content": token.text} if self.chat else token.text
        return self._piece(index, said, None, logprobs)

    def ending(self, index: int, generation: Generation) -> dict[str, Any]:
        """Return the piece that says how a choice ended."""
        return self._piece(index, {} if self.chat else "", generation.finish)

    def bill(self, read: int, written: int) -> dict[str, Any]:
        """Return the piece that tells the usage."""
        return self.head(piece=True) | {"choices": [], "usage": usage(read, written)}

    def _piece(self, index: int, said: Any, finish: str | None, logprobs: Any = None) -> dict[str, Any]:
        choice = {
            "index": index,
            ("delta" if self.chat else "text"): said,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
        return self.head(piece=True) | {"choices": [choice]} | ({"usage": None} if self.usage else {})

    def _logprobs(self, tokens: Sequence[Token], offset: int = 0) -> dict[str, Any]:
        if self.chat:
            content = [
                self._named(token.id, token.logprob)
                | {"top_logprobs": [self._named(number, value) for number, value in token.top]}
                for token in tokens
            ]
            return {"content": content, "refusal": None}
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        return {
            "tokens": [self._text(token.id) for token in tokens],
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": [{self._text(number): _finite(value) for number, value in token.top} for token in tokens],
            "text_offset": offsets,
        }

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = self._text(token)
        return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}

    def _text(self, token: int) -> str:
        return self.model.tokenizer.decode([token])


def usage(read: int, written: int) -> dict[str, int]:
    """Return how many tokens were read and written."""
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else LOWEST
