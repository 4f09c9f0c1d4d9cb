"""Log-probabilities of several completions behind each prompt, which is read once for all of them."""

from collections.abc import Hashable, Sequence

import torch

from steersman.model.arranging import Rows
from steersman.model.budget import forked_tokens
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.passes import Read, advance, grow_for, read_all
from steersman.model.score import Reading, Score, score_tokens, token_logprobs
from steersman.plan import Plan

READING = Reading()
Option = tuple[int, int]
"""A row of a batch, and which of its completions."""


def score_options(
    model: Handle,
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    plans: Sequence[Plan],
    reading: Reading = READING,
    most: int | None = None,
) -> list[list[Score]]:
    """Return the scores of several completions per prompt.

    Args:
        model: the model.
        prompts: at least one.
        options: for each prompt its completions.
        plans: one per prompt.
        reading: how the prompts are read; ranks, divergence and entropy are not told here.
        most: prompts of a batch at most; as many as fit where not given.
    """
    systems = reading.systems(len(prompts))
    heads = [
        prompt_tokens(model, prompt, system, chat=reading.chat) for prompt, system in zip(prompts, systems, strict=True)
    ]
    known: dict[str, list[int]] = {}
    tails = [
        [known[text] if text in known else known.setdefault(text, completion_tokens(model, text)) for text in row]
        for row in options
    ]
    longest = max((len(tail) for row in tails for tail in row), default=1)
    if longest > 1 and not model.reads_on:
        return _one_by_one(model, heads, tails, plans, most)
    rows = Rows(heads, [len(head) for head in heads], plans)
    scores: list[list[Score]] = [[]] * len(heads)

    def then(read: Read) -> None:
        found = _behind(model, rows, read, [tails[i] for i in read.numbers])
        for number, values in zip(read.numbers, found, strict=True):
            scores[number] = values

    read_all(model, rows, then, keep=1, cache=longest > 1, most=most)
    return scores


def _one_by_one(
    model: Handle,
    heads: Sequence[list[int]],
    tails: Sequence[Sequence[list[int]]],
    plans: Sequence[Plan],
    most: int | None,
) -> list[list[Score]]:
    """Return the scores of completions that are each read with their prompt, in one pass."""
    flat = [(row, tail) for row, each in enumerate(tails) for tail in each]
    found = score_tokens(
        model, [heads[row] for row, _ in flat], [tail for _, tail in flat], [plans[row] for row, _ in flat], most=most
    )
    scores: list[list[Score]] = [[] for _ in heads]
    for (row, _), score in zip(flat, found, strict=True):
        scores[row].append(score)
    return scores


def _behind(model: Handle, rows: Rows, read: Read, tails: Sequence[Sequence[list[int]]]) -> list[list[Score]]:
    """Return the scores of each row's completions, given the pass that ended its prompt."""
    flat = [(row, option) for row, each in enumerate(tails) for option in range(len(each))]
    classes, place = read.tree.top.members[torch.tensor([row for row, _ in flat])].unique(return_inverse=True)
    firsts = torch.tensor([tails[row][option][0] for row, option in flat])
    known = torch.zeros(len(flat))
    for part, logits in read.seen.logits(classes, torch.ones_like(classes)):
        here = ((place >= part.start) & (place < part.stop)).nonzero()[:, 0]
        at, wanted = (place[here] - part.start).to(logits.device), firsts[here].to(logits.device)
        known[here] = (logits[at, wanted] - logits.logsumexp(-1)[at]).cpu()
    values = {key: [value] for key, value in zip(flat, known.tolist(), strict=True)}
    for group in _alike(model, tails, flat, read):
        _read_on(model, rows, read, tails, group, values)
    return [
        [Score(tuple(values[row, option]), tuple(tail)) for option, tail in enumerate(each)]
        for row, each in enumerate(tails)
    ]


def _read_on(
    model: Handle,
    rows: Rows,
    read: Read,
    tails: Sequence[Sequence[list[int]]],
    group: Sequence[Option],
    values: dict[Option, list[float]],
) -> None:
    """Add the log-probabilities of the later tokens of some completions, read behind their prompts."""
    numbers = [int(read.rows[row]) for row, _ in group]
    said = [tails[row][option] for row, option in group]
    alike: list[Hashable] = [
        (rows.text(read.numbers[row]), tuple(tail)) for (row, _), tail in zip(group, said, strict=True)
    ]
    plans = [rows.plans[read.numbers[row]] for row, _ in group]
    tree = grow_for(model, alike, plans, numbers, cached=True)
    # Padded behind: no padding comes between a prompt and what follows it.
    seen, _ = advance(model, tree, [tail[:-1] for tail in said], read.past, side="right")
    length = seen.values.shape[1]
    done: set[int] = set()
    found: dict[int, list[float]] = {}
    for key, tail, member in zip(group, said, tree.top.members.tolist(), strict=True):
        if member not in done:
            done.add(member)
            back = length - torch.arange(len(tail) - 1)
            parts = seen.logits(torch.full_like(back, member), back)
            found[member] = [
                value for part, logits in parts for value in token_logprobs(logits, tail[1:][part]).tolist()
            ]
        values[key] = values[key] + found[member]


def _alike(
    model: Handle, tails: Sequence[Sequence[list[int]]], flat: Sequence[Option], read: Read
) -> list[list[Option]]:
    """Return the completions of more than a token, in batches whose longest is at most twice the shortest."""
    longer = sorted(
        (len(tails[row][option]), place, (row, option))
        for place, (row, option) in enumerate(flat)
        if len(tails[row][option]) > 1
    )
    if not longer or read.past is None:
        return []
    behind = read.past.mask.shape[1] // 4
    budget = forked_tokens(model)
    groups: list[list[Option]] = []
    shortest = 0
    for length, _, key in longer:
        full = bool(groups) and (len(groups[-1]) + 1) * (length + behind) > budget
        if not groups or length > 2 * shortest or full:
            groups.append([])
            shortest = length
        groups[-1].append(key)
    return groups
