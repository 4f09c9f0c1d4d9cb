"""Log-probabilities of given text, row by row, without ever holding all positions' logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steersman.errors import InputError
from steersman.model.arranging import Rows
from steersman.model.encode import Systems, completion_tokens, each_system, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.head import Seen
from steersman.model.passes import Read, read_all
from steersman.plan import Plan


@dataclass(frozen=True)
class Score:
    """What the model made of one completion's tokens, given its prompt and the tokens before.

    Args:
        tokens: their log-probabilities, nats.
        ids: the tokens themselves.
        ranks: how many tokens of the vocabulary were likelier than each, 0 for the model's first choice; where asked.
        divergence: Kullback-Leibler divergence of the steered from the unsteered next-token distribution before each,
            `KL(unsteered || steered)`, nats; where asked.
        entropy: of the next-token distribution before each, nats; where asked.
        echo: for every token of prompt and completion, the log-probability that it is written once more right behind
            itself, nats: what the coefficient selection of ALERT takes for the log-probability of the text, one
            position off; where asked.
    """

    tokens: tuple[float, ...]
    ids: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    divergence: tuple[float, ...] = ()
    entropy: tuple[float, ...] = ()
    echo: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        """Log-probability of the whole completion, nats."""
        return sum(self.tokens)

    @property
    def mean(self) -> float:
        """Mean log-probability per token, nats."""
        return self.total / len(self.tokens)

    @property
    def minimum(self) -> float:
        """Log-probability of the least likely token, nats."""
        return min(self.tokens)


@dataclass(frozen=True)
class Reading:
    """How texts are read and what is told of them.

    Args:
        system: system prompt of all rows, or one for each; before a plain text or prompt it stands as plain text.
        chat: wrap prompts in the model's chat template, where it has one.
        ranks: tell every token's rank.
        divergence: tell how far the steered next-token distribution is from the unsteered one; a second pass.
        entropy: tell the entropy of the next-token distribution before every token.
        echo: tell the log-probability of every token behind itself; needs the logits of all positions.
    """

    system: Systems = None
    chat: bool = True
    ranks: bool = False
    divergence: bool = False
    entropy: bool = False
    echo: bool = False

    def systems(self, count: int) -> list[str | None]:
        """Return the system prompt of each of so many rows.

        Raises:
            InputError: for as many system prompts as there are no rows.
        """
        return each_system(self.system, count)


def score_texts(
    model: Handle,
    prompts: Sequence[str],
    completions: Sequence[str],
    plans: Sequence[Plan],
    reading: Reading = Reading(),
    most: int | None = None,
) -> list[Score]:
    """Return the completions' token log-probabilities; what rows have in common is read once.

    Args:
        model: the model.
        prompts: at least one; `""` for a plain text, whose first token then only serves as context.
        completions: one per prompt, each of at least one token.
        plans: one per prompt.
        reading: how the texts are read and what is told of them.
        most: rows of a batch at most; as many as fit where not given.
    """
    systems = reading.systems(len(prompts))
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    if not all(prompts) and any(step.span.name == "after_instruction" for plan in plans for step in plan):
        raise InputError("expected a prompt for the span after_instruction, got a plain text, which has no instruction")
    for prompt, completion, system in zip(prompts, completions, systems, strict=True):
        tail = completion_tokens(model, completion)
        head = prompt_tokens(model, prompt, system, chat=reading.chat) if prompt else _beginning(model, system)
        if not head:
            head, tail = tail[:1], tail[1:]
        if not tail:
            raise InputError(f"expected a text of at least two tokens, got {completion!r}")
        heads.append(head)
        tails.append(tail)
    return score_tokens(model, heads, tails, plans, reading, most)


def score_tokens(
    model: Handle,
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    plans: Sequence[Plan],
    reading: Reading = Reading(),
    most: int | None = None,
) -> list[Score]:
    """Return the log-probabilities of token rows `tails`, each given its row of `heads`; see `score_texts`."""
    rows = Rows([[*h, *t] for h, t in zip(heads, tails, strict=True)], [len(head) for head in heads], plans)
    scores: list[Score | None] = [None] * len(heads)

    def then(read: Read) -> None:
        members = read.tree.top.members.tolist()
        found: dict[int, Score] = {}
        for each, (row, member) in enumerate(zip(read.numbers, members, strict=False)):
            if member not in found:
                twin = None if read.plain is None else (read.plain[0], int(read.plain[1][each]))
                found[member] = _scored(read.seen, member, rows.tokens[row], len(tails[row]), twin, reading)
            scores[row] = found[member]

    # Left padding lines the completions up at the end, so only the last positions are ever wanted.
    keep = None if reading.echo else max(map(len, tails)) + 1
    read_all(model, rows, then, keep=keep, plain=reading.divergence, share=not reading.echo, most=most)
    return [score for score in scores if score is not None]


def _scored(
    seen: Seen, row: int, tokens: Sequence[int], count: int, twin: tuple[Seen, int] | None, reading: Reading
) -> Score:
    """Return the score of the last `count` tokens of a row of a pass; `twin` is the same row without edits."""
    tail = list(tokens[-count:])
    values: dict[str, list[Any]] = {"logprobs": [], "ranks": [], "divergence": [], "entropy": [], "echo": []}
    back = torch.arange(count + 1, 1, -1)
    bare = None if twin is None else twin[0].logits(torch.full_like(back, twin[1]), back)
    for part, logits in seen.logits(torch.full_like(back, row), back):
        values["logprobs"] += token_logprobs(logits, tail[part]).tolist()
        if reading.ranks:
            values["ranks"] += token_ranks(logits, tail[part]).tolist()
        if reading.entropy:
            values["entropy"] += entropies(logits).tolist()
        if bare is not None:
            values["divergence"] += divergences(next(bare)[1], logits).tolist()
    if reading.echo:
        back = torch.arange(len(tokens), 0, -1)
        for part, logits in seen.logits(torch.full_like(back, row), back):
            values["echo"] += token_logprobs(logits, list(tokens)[part]).tolist()
    return Score(
        tuple(values["logprobs"]),
        tuple(tail),
        tuple(values["ranks"]),
        tuple(values["divergence"]),
        tuple(values["entropy"]),
        tuple(values["echo"]),
    )


def token_ranks(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the `[n]` ranks of `tokens` in `[n, vocab]` logits: how many tokens have a larger logit, 0 for none."""
    wanted = torch.tensor(list(tokens), device=logits.device)
    return (logits > logits.gather(1, wanted[:, None])).sum(1)


def divergences(before: Tensor, after: Tensor) -> Tensor:
    """Return the `[n]` float32 values of `KL(before || after)`, nats, between rows of `[n, vocab]` logits."""
    own, other = before.float().log_softmax(-1), after.float().log_softmax(-1)
    return (own.exp() * (own - other)).sum(-1).clamp(min=0)


def entropies(logits: Tensor) -> Tensor:
    """Return the `[n]` float32 entropies, nats, of the distributions that rows of `[n, vocab]` logits stand for."""
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def token_logprobs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the `[n]` float32 log-probabilities, nats, of `tokens`, one for each row of `[n, vocab]` logits."""
    logits = logits.float()
    wanted = torch.tensor(list(tokens), device=logits.device)
    # Not log_softmax: only one number of each row is wanted, and a vocabulary is wide.
    return logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)


def _beginning(model: Handle, system: str | None) -> list[int]:
    """Return what stands before a plain text: its first token where there is one, and the system prompt as text."""
    first = model.tokenizer.bos_token_id
    before = completion_tokens(model, f"{system}\n\n") if system else []
    return ([] if first is None else [first]) + before
