"""Inspect AI on a steered model: the provider `steersman`, found by Inspect through the entry point of this package.

`inspect eval task.py --model steersman/default -M direction=F.safetensors -M layer=12 -M coefficient=0.3`

Requests that arrive while a batch is being computed form the next one; a request's answer does not depend on its
neighbours. Without a temperature decoding is greedy, so that an evaluation comes out the same twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread
import torch

from steersman.bridges.continuations import Continuation, tail_logits
from steersman.bridges.steering import steered
from steersman.bridges.stops import stopping
from steersman.errors import InputError
from steersman.model.encode import prompt_tokens
from steersman.model.generate import Generation, Sampling, generate_tokens

try:
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessage,
        ChatMessageAssistant,
        ContentText,
        GenerateConfig,
        Logprob,
        Logprobs,
        ModelAPI,
        ModelOutput,
        ModelUsage,
        StopReason,
        TopLogprob,
        modelapi,
    )
    from inspect_ai.tool import ToolChoice, ToolInfo
except ImportError as error:
    raise InputError(
        f"expected Inspect AI, which is not installed ({error}); pip install 'steersman[inspect]'"
    ) from error

LIMIT = 512
"""Tokens of an answer where nothing is said; the model's context allowing."""

UNKNOWN = ("top_k", "frequency_penalty", "presence_penalty", "logit_bias", "best_of", "response_schema")
"""Settings that would change an answer and are not known here."""


@dataclass(eq=False)
class Request:
    """One row: what is asked, and what came of it.

    Args:
        tokens: of the prompt.
        sampling: how tokens are chosen.
        stops: sequences that end the answer.
        key: of its draws.
        made: the answer, once there is one.
        error: why there is none.
    """

    tokens: list[int]
    sampling: Sampling
    stops: tuple[str, ...]
    key: str
    made: Generation | None = field(default=None)
    error: Exception | None = field(default=None)

    @property
    def done(self) -> bool:
        """Whether it was computed, or cannot be."""
        return self.made is not None or self.error is not None


class SteersmanAPI(ModelAPI):
    """A steered model as Inspect asks for one.

    Args:
        model_name: `default`, a Hugging Face id, a folder (`steersman//path/to/folder`) or a `.gguf` file.
        base_url: not used.
        api_key: not used.
        config: Inspect's settings for all requests.
        model_args: `direction`, `plan`, `layer`, `coefficient`, `unit`, `span`, `edit` as in
            `steersman.bridges.steering`; `dtype`, `device`; `batch_size`, rows at a time, 16 where not given.

    Raises:
        InputError: for arguments that are unknown, do not go together or are out of range.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        dtype, device = str(model_args.pop("dtype", "auto")), str(model_args.pop("device", "auto"))
        self.batch_size = int(model_args.pop("batch_size", 16))
        if self.batch_size < 1:
            raise InputError(f"expected a batch_size of at least 1, got {self.batch_size}")
        self.steered = steered(model_name, model_args, dtype=dtype, device=device)
        self._facts = self.steered.facts()
        self._waiting: list[Request] = []
        self._asked: dict[tuple[str, Sampling], int] = {}
        self._list, self._turn = Lock(), Lock()

    def max_connections(self) -> int:
        """Return how many requests may wait at once: two batches, so that the next one fills while one is computed."""
        return 2 * self.batch_size

    def max_tokens(self) -> int:
        """Return the longest answer where nothing is said, in tokens."""
        return LIMIT

    async def count_text_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, by the model's own tokenizer."""
        return len(await self.tokenize(text))

    async def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, nothing before it."""
        return list(self.steered.model.tokenizer(text, add_special_tokens=False)["input_ids"])

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 (Inspect's name)
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """Return the model's answer to a conversation, under the plan.

        Raises:
            InputError: for tools, for anything but text, or for a setting that is not known here.
            InterventionError: when the plan was never applied.
        """
        if tools:
            raise InputError(f"expected no tools, which {self.model_name} is not asked to call, got {tools[0].name}")
        if unknown := [name for name in UNKNOWN if getattr(config, name) not in (None, {}, [])]:
            raise InputError(
                "expected settings among max_tokens, temperature, top_p, seed, stop_seqs, num_choices, logprobs and "
                f"top_logprobs, got {', '.join(unknown)}"
            )
        tokens, key = self._encoded(input)
        room = self._window() - len(tokens)
        if room < 1:
            return ModelOutput.from_content(self.model_name, "", stop_reason="model_length")
        asked = config.max_tokens or LIMIT
        sampling = Sampling(
            min(asked, room),
            config.temperature or 0.0,
            1.0 if config.top_p is None else config.top_p,
            seed=config.seed or 0,
        )
        stops = tuple(config.stop_seqs or ())
        requests = [Request(tokens, sampling, stops, self._key(key, sampling)) for _ in range(config.num_choices or 1)]
        with self._list:
            self._waiting += requests
        await anyio.sleep(0.02)  # what is asked at the same time is computed together
        await anyio.to_thread.run_sync(partial(self._serve, requests))
        for request in requests:
            if request.error is not None:
                raise request.error
        choices = [self._choice(request, config, full=asked <= room) for request in requests]
        written = sum(len(request.made.tokens) for request in requests if request.made)
        return ModelOutput(
            model=self.model_name,
            choices=choices,
            usage=ModelUsage(input_tokens=len(tokens), output_tokens=written, total_tokens=len(tokens) + written),
            metadata={"steersman": self._facts},
        )

    def _encoded(self, messages: Sequence[ChatMessage]) -> tuple[list[int], str]:
        """Return a conversation's tokens, and what its draws go by: of a single turn the same as `model.generate`'s."""
        model = self.steered.model
        turns = [{"role": message.role, "content": _text(message)} for message in messages]
        roles = [turn["role"] for turn in turns]
        system = turns[0]["content"] if roles[:1] == ["system"] else None
        rest = turns if system is None else turns[1:]
        if [turn["role"] for turn in rest] == ["user"]:
            return prompt_tokens(model, rest[0]["content"], system), rest[0]["content"]
        if not model.template:
            raise InputError(
                f"expected one user message, perhaps behind a system message, for {model.name}, which has no chat "
                f"template, got {', '.join(roles)}; take a model that was made for conversations"
            )
        ends = roles[-1] != "assistant"  # where the assistant's words are begun already, they are gone on with
        text = model.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=ends, continue_final_message=not ends
        )
        return list(model.tokenizer(text, add_special_tokens=False)["input_ids"]), text

    def _window(self) -> int:
        config = self.steered.model.hf.config
        config = getattr(config, "text_config", None) or config
        limits = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings"))
        return next((int(limit) for limit in limits if limit), 2048)

    def _key(self, text: str, sampling: Sampling) -> str:
        """Return what a request's draws go by: another key each time that the same is asked, as by several epochs."""
        if sampling.temperature == 0:
            return text
        with self._list:
            count = self._asked.get((text, sampling), 0)
            self._asked[text, sampling] = count + 1
        return f"{text}|{count}" if count else text

    def _serve(self, requests: Sequence[Request]) -> None:
        """Compute what waits, a batch at a time, until these requests are done."""
        while not all(request.done for request in requests):
            with self._turn:
                if all(request.done for request in requests):
                    return
                with self._list:
                    first = self._waiting[0]
                    alike = [each for each in self._waiting if each.sampling == first.sampling]
                    batch = [each for each in alike if each.stops == first.stops][: self.batch_size]
                    self._waiting = [each for each in self._waiting if each not in batch]
                self._compute(batch)

    def _compute(self, batch: Sequence[Request]) -> None:
        model, plan = self.steered.model, self.steered.plan
        try:
            made = generate_tokens(
                model,
                [each.tokens for each in batch],
                [plan] * len(batch),
                batch[0].sampling,
                keys=[each.key for each in batch],
                ended=stopping(model.tokenizer, batch[0].stops),
            )
            for each, generation in zip(batch, made, strict=True):
                each.made = generation
        except Exception as error:  # whatever it is, those who wait have to be told
            if len(batch) == 1:
                batch[0].error = error
                return
            # One row's fault is not its neighbours'.
            for each in batch:
                self._compute([each])

    def _choice(self, request: Request, config: GenerateConfig, *, full: bool) -> ChatCompletionChoice:
        assert request.made is not None
        text = request.made.text
        for stop in request.stops:
            text = text.split(stop)[0] if stop else text
        reason: StopReason = "stop"
        if request.made.finish == "length":
            reason = "max_tokens" if full else "model_length"
        return ChatCompletionChoice(
            message=ChatMessageAssistant(content=text, model=self.model_name, source="generate"),
            stop_reason=reason,
            logprobs=self._logprobs(request, config.top_logprobs or 0) if config.logprobs else None,
        )

    def _logprobs(self, request: Request, top: int) -> Logprobs:
        """Return the log-probabilities of an answer's tokens, read once more in one pass under the same plan."""
        assert request.made is not None
        tokens = request.made.tokens
        if not tokens:
            return Logprobs(content=[])
        with self._turn:
            row = Continuation.of(request.tokens, tokens, self._window())
            logits = tail_logits(self.steered.model, row, self.steered.plan).float().log_softmax(-1)
        shown: list[Logprob] = []
        for token, row_logits in zip(tokens, logits, strict=True):
            best = torch.topk(row_logits, top) if top else None
            pairs = [] if best is None else zip(best.indices.tolist(), best.values.tolist(), strict=True)
            others = [TopLogprob(token=self._word(other), logprob=value) for other, value in pairs]
            own = float(row_logits[token])
            shown.append(Logprob(token=self._word(token), logprob=own, top_logprobs=others or None))
        return Logprobs(content=shown)

    def _word(self, token: int) -> str:
        return str(self.steered.model.tokenizer.decode([token]))


def _text(message: ChatMessage) -> str:
    """Return a message's words.

    Raises:
        InputError: for a tool's message, or one with anything but text.
    """
    if message.role == "tool" or getattr(message, "tool_calls", None):
        raise InputError("expected a conversation of text, got a tool call; a steered model here calls no tools")
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if not isinstance(part, ContentText):
            raise InputError(f"expected a conversation of text, got a message with {part.type}; give the text alone")
    return "\n".join(part.text for part in message.content if isinstance(part, ContentText))


modelapi(name="steersman")(SteersmanAPI)  # not as a decorator, which would hide the class
