"""Hooks on decoder blocks: editing and capturing, always as contexts that leave nothing behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steersman.edits import Edit
from steersman.errors import InterventionError, MismatchError
from steersman.model.handle import Handle
from steersman.model.layout import hidden_of, with_hidden
from steersman.plan import Plan, Step
from steersman.where import Site, SpanName, span_mask


@dataclass(eq=False)
class Progress:
    """Where the forward pass at hand stands: absolute positions and prompt lengths of its rows.

    Read from what the decoder is called with: the 2-D attention mask and the length of its cache.

    Args:
        positions: `[batch, seq]` absolute positions of the pass at hand, -1 at padding; `None` before the first pass.
        prompt_lengths: `[batch]` real prompt tokens of each row of the pass at hand.
        first_lengths: `[rows]` prompt lengths of the batch as it was first given.
        told: whether those were given, and not read from the first pass.
        index: `[batch]` which first row each row is now; `None` while none has been dropped or repeated.
    """

    positions: Tensor | None = None
    prompt_lengths: Tensor | None = None
    first_lengths: Tensor | None = None
    told: bool = False
    index: Tensor | None = None

    def begin(self, arguments: dict[str, Any], tokens: Tensor) -> None:
        """Take the arguments of one forward pass in: `tokens` is `[batch, seq]` or `[batch, seq, d]`."""
        batch, length = tokens.shape[0], tokens.shape[1]
        cache = arguments.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None and hasattr(cache, "get_seq_length") else 0
        mask = arguments.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise MismatchError(
                "expected a 2-D attention mask [batch, past + seq] to know absolute positions; got another form"
            )
        if mask is None:
            positions = torch.arange(past, past + length, device=tokens.device).expand(batch, length)
        else:
            if mask.shape[1] < past + length:
                raise MismatchError(f"expected an attention mask over {past + length} positions, got {mask.shape[1]}")
            mask = mask[:, : past + length]
            counted = mask.long().cumsum(1) - 1
            positions = counted.masked_fill(mask == 0, -1)[:, past:]
        if self.first_lengths is None or (past == 0 and not self.told):
            self.first_lengths = positions.max(1).values + 1
        lengths = self.first_lengths.to(positions.device)
        lengths = lengths if self.index is None else lengths[self.index.to(positions.device)]
        if lengths.shape[0] != batch:
            raise MismatchError(
                f"expected a batch of {lengths.shape[0]} rows, whose prompts are known, got {batch}; "
                "when rows of a cached batch are dropped or repeated, call .select(index) on what the context yields"
            )
        self.positions, self.prompt_lengths = positions, lengths

    def select(self, index: Tensor) -> None:
        """Keep (or repeat) rows: row i of the next forward pass is row `index[i]` of the last."""
        index = index.cpu()
        self.index = index if self.index is None else self.index[index]


@dataclass(eq=False)
class Operation:
    """One edit at one site for the rows that ask for it; with a single row, for every row of any batch.

    Args:
        site: where.
        edit: how.
        span: which tokens.
        rows: `[rows]` bool, the rows that ask for it.
        vectors: `[rows, d]` float32, zero for the other rows.
        coefficients: `[rows]` float32.
        applied: `[rows]` positions edited so far.
    """

    site: Site
    edit: Edit
    span: SpanName
    rows: Tensor
    vectors: Tensor
    coefficients: Tensor
    applied: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.applied = torch.zeros(len(self.rows), dtype=torch.long)

    def __call__(self, hidden: Tensor, progress: Progress) -> Tensor:
        """Return the hidden states, edited in the span of the rows concerned and bit-identical elsewhere."""
        if progress.positions is None or progress.prompt_lengths is None:
            raise InterventionError(
                f"the decoder was not entered before {self.site}; call the model, not one of its blocks"
            )
        device = hidden.device
        index = self._index(hidden.shape[0], progress)
        mask = span_mask(self.span, progress.positions.to(device), progress.prompt_lengths.to(device))
        mask = mask & self.rows[index].to(device)[:, None]
        counts = mask.sum(1).cpu()
        if not counts.any():
            return hidden
        self.applied.index_add_(0, index, counts)
        edited = self.edit(hidden, self.vectors[index].to(device), self.coefficients[index].to(device))
        return torch.where(mask[..., None], edited, hidden)

    def _index(self, batch: int, progress: Progress) -> Tensor:
        if len(self.rows) == 1:
            return torch.zeros(batch, dtype=torch.long)
        if progress.index is not None:
            return progress.index
        if len(self.rows) != batch:
            raise MismatchError(
                f"expected a batch of {len(self.rows)} rows, one for each plan, got {batch}; "
                "give one plan for all rows, or as many plans as rows"
            )
        return torch.arange(batch)


@dataclass(eq=False)
class Editing:
    """The interventions under way: what is applied where, and how often it has been.

    Args:
        operations: in the order in which they act.
        progress: where the forward pass at hand stands.
        excused: first rows that ended by themselves before their span began: nothing was left to edit in them.
    """

    operations: list[Operation] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    excused: set[int] = field(default_factory=set)

    @property
    def applications(self) -> dict[str, int]:
        """Positions edited so far, by site."""
        counts: dict[str, int] = {}
        for operation in self.operations:
            counts[str(operation.site)] = counts.get(str(operation.site), 0) + int(operation.applied.sum())
        return counts

    def select(self, index: Tensor) -> None:
        """Keep (or repeat) rows of a cached batch: row i of the next forward pass is row `index[i]` of the last."""
        self.progress.select(index)

    def check(self) -> None:
        """Return when everything that was asked for was applied, in every row.

        Raises:
            InterventionError: naming the sites where nothing was applied, the rows, and why.
        """
        idle: dict[str, list[int]] = {}
        for operation in self.operations:
            rows = (operation.rows & (operation.applied == 0)).nonzero()[:, 0].tolist()
            if rows := [row for row in rows if row not in self.excused]:
                # A single plan stands for all rows: nothing to tell apart.
                idle[str(operation.site)] = rows if len(operation.rows) > 1 else []
        if idle:
            reason = "no forward pass ran" if self.progress.positions is None else "its span selected no token"
            where = ", ".join(
                f"{site} (rows {', '.join(map(str, rows))})" if rows else site for site, rows in sorted(idle.items())
            )
            raise InterventionError(f"steering was asked for at {where} and never applied: {reason}")


def compile_plans(plans: Sequence[Plan], width: int) -> list[Operation]:
    """Return the operations of a batch in order: rows with the same edit and span at the same place share one.

    Args:
        plans: one per row. Steps with coefficient 0 ask for nothing and are left out, so they cannot change a bit.
        width: model width d.
    """
    rounds: dict[tuple[Site, int, Edit, SpanName], list[tuple[int, Step]]] = {}
    for row, plan in enumerate(plans):
        seen: dict[Site, int] = {}
        for step in plan:
            if step.coefficient == 0:
                continue
            turn = seen.get(step.site, 0)
            seen[step.site] = turn + 1
            rounds.setdefault((step.site, turn, step.edit, step.span), []).append((row, step))
    operations: list[Operation] = []
    for (site, _, edit, span), steps in sorted(rounds.items(), key=lambda item: item[0][:2]):
        rows = torch.zeros(len(plans), dtype=torch.bool)
        vectors, coefficients = torch.zeros(len(plans), width), torch.zeros(len(plans))
        for row, step in steps:
            rows[row], vectors[row], coefficients[row] = True, step.vector, step.coefficient
        operations.append(Operation(site, edit, span, rows, vectors, coefficients))
    return operations


@contextmanager
def editing(model: Handle, plans: Sequence[Plan], prompt_lengths: Tensor | None = None) -> Iterator[Editing]:
    """Run the body with every row's plan applied; restore the model exactly after, also by exception.

    Args:
        model: the model.
        plans: one per row of every batch inside, or a single one for all rows.
        prompt_lengths: `[batch]` real tokens of each prompt; where not given, what a pass without a cached past holds.

    Raises:
        MismatchError: when a plan does not fit the model.
        InterventionError: at the end, when something asked for was never applied.
    """
    for plan in plans:
        model.check(plan)
    with applying(model, compile_plans(plans, model.width), prompt_lengths) as active:
        yield active


@contextmanager
def applying(model: Handle, operations: Sequence[Operation], prompt_lengths: Tensor | None = None) -> Iterator[Editing]:
    """Run the body with compiled operations applied; see `editing`.

    Args:
        model: the model.
        operations: in the order in which those of one site follow each other.
        prompt_lengths: `[batch]` real tokens of each prompt; where not given, what a pass without a cached past holds.

    Raises:
        InterventionError: at the end, when something asked for was never applied.
    """
    active = Editing(list(operations))
    with ExitStack() as stack:
        _enter(stack, model, active, prompt_lengths)
        by_site: dict[Site, list[Operation]] = {}
        for operation in active.operations:
            by_site.setdefault(operation.site, []).append(operation)
        for site, together in by_site.items():
            hook = _editor(together, active.progress)
            stack.callback(model.layout.blocks[site.layer].register_forward_hook(hook).remove)
        yield active
    active.check()


@contextmanager
def capturing(
    model: Handle,
    sites: Sequence[Site],
    take: Callable[[Site, Tensor, Progress], None],
    prompt_lengths: Tensor | None = None,
) -> Iterator[Editing]:
    """Run the body with `take(site, hidden [batch, seq, d], progress)` called at every site of every forward pass.

    Entered inside `editing`, it sees the edited hidden states: what is read is what was written.
    """
    active = Editing()
    with ExitStack() as stack:
        _enter(stack, model, active, prompt_lengths)
        for site in sites:

            def hook(_module: Any, _args: Any, output: Any, site: Site = site) -> None:
                take(site, hidden_of(output).detach(), active.progress)

            stack.callback(model.layout.blocks[site.layer].register_forward_hook(hook).remove)
        yield active


def select_rows(model: Handle, index: Tensor) -> None:
    """Tell every context under way that row i of the next forward pass is row `index[i]` of the last."""
    for active in model.under_way:
        active.select(index)


def excuse_row(model: Handle, row: int) -> None:
    """Tell every context under way that a row ended by itself before anything was generated in it."""
    for active in model.under_way:
        active.excused.add(row)


def _enter(stack: ExitStack, model: Handle, active: Editing, prompt_lengths: Tensor | None) -> None:
    def before(_module: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        tokens = args[0] if args else arguments.get("input_ids")
        if tokens is None:
            tokens = arguments["inputs_embeds"]
        active.progress.begin(arguments, tokens)

    model.under_way.append(active)
    stack.callback(model.under_way.remove, active)
    if prompt_lengths is not None:
        # A context around this one (a `steer` around `model.score`) learns from it where the prompts end.
        for around in model.under_way:
            progress = around.progress
            stack.callback(_restore, progress, progress.first_lengths, progress.told, progress.index)
            progress.first_lengths, progress.told, progress.index = prompt_lengths.cpu(), True, None
    stack.callback(model.layout.base.register_forward_pre_hook(before, with_kwargs=True).remove)


def _restore(progress: Progress, first_lengths: Tensor | None, told: bool, index: Tensor | None) -> None:
    progress.first_lengths, progress.told, progress.index = first_lengths, told, index


def _editor(operations: list[Operation], progress: Progress) -> Callable[..., Any]:
    def hook(_module: Any, _args: Any, output: Any) -> Any:
        before = hidden_of(output)
        # All edits of a site in float32 or better, rounded once at the end; untouched numbers come back as they were.
        hidden = wide = before.to(torch.promote_types(before.dtype, torch.float32))
        for operation in operations:
            hidden = operation(hidden, progress)
        return None if hidden is wide else with_hidden(output, hidden.to(before.dtype))

    return hook
