"""A conversation with one model: what was said, what steers, how answers are drawn. Knows no screen and no keyboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from steersman.chat.history import Prompt, Turn, prompt_of
from steersman.chat.steering import Steering
from steersman.errors import InputError
from steersman.model.generate import Generation, Sampling
from steersman.model.live import Live, Request, Ticket
from steersman.plan import Plan
from steersman.ready import Ready

LENGTH = 200
"""Tokens of an answer at most, where nobody says how many."""


@dataclass
class Session:
    """A conversation.

    Args:
        live: the model that answers.
        known: the directions at hand, by name.
        sampling: how answers are drawn.
        system: a system prompt; empty for none.
        turns: said so far, oldest first.
    """

    live: Live
    known: Mapping[str, Ready]
    sampling: Sampling = field(default_factory=lambda: Sampling(LENGTH))
    system: str = ""
    turns: list[Turn] = field(default_factory=list[Turn])

    def __post_init__(self) -> None:
        """Refuse answers that leave no room for a prompt."""
        self.check(self.sampling)
        self.steering = Steering(self.live.model, self.known)

    def ask(self, said: str) -> tuple[Ticket, Prompt]:
        """Return the answer to come under what steers now, and the prompt it was asked with; `keep` takes it in.

        Args:
            said: the person's words.

        Raises:
            InputError: for no words, more than the model can see at once, or a plan that does not fit.
        """
        if not said.strip():
            raise InputError("expected a few words, got none")
        prompt = self._prompt(said, len(self.turns))
        return self._ask(said, prompt, self.steering.plan()), prompt

    def keep(self, said: str, made: Generation) -> Turn:
        """Return the answer as a turn, and take it into the conversation."""
        turn = Turn(said, made.text, made.finish, self.steering.plain(), self.steering.plan().describe())
        self.turns.append(turn)
        return turn

    def again(self) -> tuple[str, Ticket, Ticket, Prompt]:
        """Return the last message, and its answers to come without and with what steers now; nothing is kept.

        Raises:
            InputError: where nothing was said, or nothing steers.
        """
        if not self.turns:
            raise InputError("expected a message to compare answers to, got none so far; say something first")
        if not self.steering.active:
            raise InputError("expected a direction that is on to compare with, got none; first /steer NAME")
        said = self.turns[-1].said
        prompt = self._prompt(said, len(self.turns) - 1)
        plain = self._ask(said, prompt, Plan())
        return said, plain, self._ask(said, prompt, self.steering.plan()), prompt

    def draw(self, *, temperature: float | None = None, seed: int | None = None, length: int | None = None) -> Sampling:
        """Change how answers are drawn, and return it.

        Raises:
            InputError: for a value out of range; nothing is changed then.
        """
        changed = replace(
            self.sampling,
            temperature=self.sampling.temperature if temperature is None else temperature,
            seed=self.sampling.seed if seed is None else seed,
            max_new_tokens=self.sampling.max_new_tokens if length is None else length,
        )
        self.check(changed)
        self.sampling = changed
        return changed

    def check(self, sampling: Sampling) -> None:
        """Return when answers drawn so leave room for a prompt.

        Raises:
            InputError: when they do not.
        """
        window, length = self.live.window, sampling.max_new_tokens
        if window and length >= window:
            raise InputError(
                f"expected answers shorter than the {window} tokens that the model sees at once, got {length}"
            )

    def forget(self) -> None:
        """Begin the conversation anew; what steers stays."""
        self.turns.clear()

    def _prompt(self, said: str, before: int) -> Prompt:
        window = self.live.window
        most = window - self.sampling.max_new_tokens if window else None
        return prompt_of(self.live.model, self.turns[:before], said, self.system, most)

    def _ask(self, said: str, prompt: Prompt, plan: Plan) -> Ticket:
        return self.live.submit(Request(prompt.tokens, plan, self.sampling, key=said))
