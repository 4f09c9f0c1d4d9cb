"""Which rows are read together: by shared beginnings, then by length, in batches of about as many tokens."""

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from steersman.model.budget import forked_tokens, pass_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import around
from steersman.model.prefixes import by_beginning, shared_length
from steersman.plan import Plan

logger = logging.getLogger(__name__)

COPIED = 16
"""Tokens that rows have a copy of count one in so many."""
APART = 2
"""Times as many tokens as a pass is to hold behind its last fork may come to be where they are of one text."""
IN_ORDER = 32
"""Rows of a batch where another context is under way and rows stay in their order."""
UNSHARED = ("last", "generated", "completion", "after_instruction")
"""Spans that hold no token of what prompts share: that ends before the template's ending and the last token."""


@dataclass(frozen=True)
class Rows:
    """What is to be read.

    Args:
        tokens: of each row, prompt and what follows it.
        prompts: how many of them are prompt.
        plans: one per row.
    """

    tokens: Sequence[Sequence[int]]
    prompts: Sequence[int]
    plans: Sequence[Plan]

    def text(self, row: int) -> Hashable:
        """Return what tells a row from those that read the same: its tokens, and where its prompt ends.

        That decides what a span holds.
        """
        return self.prompts[row], tuple(self.tokens[row])

    def part(self, chosen: Sequence[int]) -> "Rows":
        """Return some of the rows."""
        return Rows(
            [self.tokens[i] for i in chosen], [self.prompts[i] for i in chosen], [self.plans[i] for i in chosen]
        )


@dataclass(frozen=True)
class Group:
    """Rows that begin alike, in batches.

    Args:
        shared: how many first tokens they share, which are read once; 0 where nothing is.
        batches: the rows' numbers.
    """

    shared: int
    batches: list[list[int]] = field(default_factory=list)

    @property
    def rows(self) -> list[int]:
        """All rows, in the order of the batches."""
        return [row for batch in self.batches for row in batch]


def arrange(model: Handle, rows: Rows, most: int | None = None, *, share: bool = True) -> list[Group]:
    """Return the rows in groups and batches.

    Args:
        model: the model; where a context is already under way, rows stay in their order and share nothing, since that
            context knows them by their places.
        rows: what is to be read.
        most: rows of a batch at most.
        share: whether common beginnings may be read apart from what follows them.
    """
    model.find_out()
    count = len(rows.tokens)
    if around(model):
        most = most or IN_ORDER
        return [Group(0, [list(range(start, min(start + most, count)))]) for start in range(0, count, most)]
    texts: dict[tuple[int, ...], list[int]] = {}
    alone: list[int] = []
    limits: dict[tuple[int, ...], int] = {}
    for row, (tokens, plan) in enumerate(zip(rows.tokens, rows.plans, strict=True)):
        if not share or not model.reads_on or any(step.gate is not None or step.span.from_end for step in plan):
            # A gate decides at a prompt's end, before any of its tokens may be edited; tokens counted from there may
            # lie in what one row shares and not in what another does.
            alone.append(row)
            continue
        key = tuple(tokens)
        texts.setdefault(key, []).append(row)
        limits[key] = min(limits.get(key, len(key)), rows.prompts[row] - 1 - model.suffix)
    groups: list[Group] = []
    distinct = list(texts)
    shareable = [list(text[: max(0, limits[text])]) for text in distinct]
    for members in by_beginning(shareable):
        shared = shared_length([shareable[i] for i in members])
        found = [row for i in members for row in texts[distinct[i]]]
        if shared:
            groups.append(Group(shared, _batches(model, rows, found, shared, most)))
        else:
            alone += found
    if alone:
        groups.append(Group(0, _batches(model, rows, alone, 0, most)))
    logger.info(
        "%d rows of %d texts in %d passes, behind %d shared beginnings",
        count,
        len({rows.text(row) for row in range(count)}),
        sum(len(group.batches) for group in groups),
        sum(bool(group.shared) for group in groups),
    )
    return groups


def _batches(model: Handle, rows: Rows, chosen: Sequence[int], shared: int, most: int | None) -> list[list[int]]:
    """Return rows in batches, the shortest first; rows of the same tokens side by side."""
    enter, leave = pass_tokens(model), forked_tokens(model)
    ordered = sorted(chosen, key=lambda row: (len(rows.tokens[row]), tuple(rows.tokens[row]), rows.prompts[row], row))
    batches: list[list[int]] = []
    texts: set[Hashable] = set()
    classes: set[tuple[Hashable, str]] = set()
    shortest = 0
    for text, group in groupby(ordered, rows.text):
        numbers = list(group)
        own = len(rows.tokens[numbers[0]]) - shared
        # The rows' copies of what they share are not computed, but take their time to be made and looked at.
        copied = own + shared // COPIED
        count = len({rows.plans[row].digest() for row in numbers})
        full = (len(texts) + 1) * own > enter or (len(classes) + count) * copied > leave
        apart = bool(shared) and not model.skips_padding and len(rows.tokens[numbers[0]]) != shortest
        if not batches or full or apart:
            batches.append([])
        for row in numbers:
            # One text's rows are parted, and what they share is read twice, only where they are far too many.
            plan = rows.plans[row].digest()
            over = len(classes | {(text, plan)}) * copied > APART * leave
            if not batches[-1] or over or (most is not None and len(batches[-1]) >= most):
                if batches[-1]:
                    batches.append([])
                texts, classes = set(), set()
                shortest = len(rows.tokens[row])
            batches[-1].append(row)
            texts.add(text)
            classes.add((text, plan))
    return batches
