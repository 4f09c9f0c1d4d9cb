"""Reading the prompts of rows that are to join: together what came together, and long ones in pieces.

Rows under way wait while a pass reads; so one pass takes in no more tokens than the machine works through well
(`budget.pass_tokens`), and a step of all rows under way may follow each.
"""

from collections.abc import Iterator, Sequence

from steersman.model.arranging import UNSHARED, Group, Rows, arrange
from steersman.model.budget import pass_tokens
from steersman.model.handle import Handle
from steersman.model.passes import Past, Read, advance, grow_for, read_rows


def arranged(model: Handle, rows: Rows, numbers: Sequence[int], most: int) -> list[Group]:
    """Return some of the rows in groups and batches, by their own numbers; outside the context that edits them."""
    groups = arrange(model, rows.part(numbers), most)
    batches = [[[numbers[i] for i in batch] for batch in group.batches] for group in groups]
    return [
        Group(group.shared, [part for batch in each for part in _parted(model, rows, batch)])
        for group, each in zip(groups, batches, strict=True)
    ]


def reading(model: Handle, rows: Rows, group: Group) -> Iterator[Read | None]:
    """Read a group's rows, a pass at a time: yield each batch that has been read, and `None` after what leads to it.

    Args:
        model: the model; inside the context that edits the rows, which may be left and resumed between two passes.
        rows: all rows of that context. Those of a batch that are gone (no tokens) when its turn comes are left out.
        group: which of them, as arranged.
    """
    past = None
    if group.shared:
        for found in _pieces(model, rows, group.rows, group.shared):
            past = found
            yield None
    for batch in group.batches:
        here = [row for row in batch if rows.tokens[row]]
        if not here:
            continue
        before = past
        if past is None:
            for found in _pieces(model, rows, here, _ahead(model, rows, here)):
                before = found
                yield None
            here = [row for row in here if rows.tokens[row]]
        if here:
            yield read_rows(model, rows, here, before, keep=1, cache=True)


def _parted(model: Handle, rows: Rows, batch: list[int]) -> list[list[int]]:
    """Return a batch in parts: of a long text, the rows that can be read in pieces apart from those that cannot."""
    bound = [row for row in batch if _is_bound(rows, row)]
    if not bound or len(bound) == len(batch) or len(rows.tokens[batch[0]]) <= pass_tokens(model):
        return [batch]
    return [[row for row in batch if row not in bound], bound]


def _is_bound(rows: Rows, row: int) -> bool:
    """Return whether a row is read as a whole.

    A gate decides at the prompt's end, before any token may be edited, and so do tokens that are counted from there.
    """
    return any(step.gate is not None or step.span.from_end for step in rows.plans[row])


def _ahead(model: Handle, rows: Rows, batch: Sequence[int]) -> int:
    """Return how many first tokens of a batch are read ahead in pieces: of one long text, all but its last piece."""
    size = pass_tokens(model)
    length = len(rows.tokens[batch[0]])
    if length <= size or len({rows.text(row) for row in batch}) > 1 or not model.reads_on:
        return 0
    if any(_is_bound(rows, row) for row in batch):
        return 0
    return max(0, length - max(1 + model.suffix, (length - 1) % size + 1))


def _pieces(model: Handle, rows: Rows, numbers: Sequence[int], length: int) -> Iterator[Past]:
    """Read the first tokens that some rows share, a piece at a time, once for every plan that edits any of them."""
    size, past = pass_tokens(model), None
    texts = [list(rows.tokens[i][:length]) for i in numbers]
    plans = [rows.plans[i] for i in numbers]
    for start in range(0, length, size):
        tree = grow_for(
            model, [()] * len(numbers), plans, numbers, lambda step: step.span.name not in UNSHARED, cached=True
        )
        _, past = advance(model, tree, [text[start : start + size] for text in texts], past, keep=1, cache=True)
        assert past is not None
        yield past
