"""Plans of rows as operations: one edit at one site, for the rows that ask for it.

A `Table` holds the operations of a number of rows. Where the rows are known beforehand it is filled once; a running
batch (`live`) takes rows in and lets them go, and a row that has gone leaves its number to the next.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steersman.edits import Edit
from steersman.errors import InterventionError, MismatchError
from steersman.gates import Gate
from steersman.model.forking import Fork, Tree
from steersman.model.progress import Decision, Progress
from steersman.plan import Plan, Step
from steersman.where import Site, Span


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
        seconds: `[rows, d]`, the second directions of a planar edit.
        decision: of the gate, where the step has one.
        considered: `[rows]` positions of the span seen so far, edited or held back by the gate.
        applied: `[rows]` positions edited so far.
    """

    site: Site
    edit: Edit
    span: Span
    rows: Tensor
    vectors: Tensor
    coefficients: Tensor
    seconds: Tensor | None = None
    decision: Decision | None = None
    considered: Tensor = field(init=False)
    applied: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Counters of their own kind: a context entered in inference mode may be used outside it.
        with torch.inference_mode(False):
            self.considered = torch.zeros(len(self.rows), dtype=torch.long)
            self.applied = torch.zeros(len(self.rows), dtype=torch.long)

    def __call__(self, hidden: Tensor, progress: Progress) -> Tensor:
        """Return the hidden states, edited in the span of the rows concerned and bit-identical elsewhere."""
        if progress.positions is None or progress.prompt_lengths is None:
            raise InterventionError(
                f"the decoder was not entered before {self.site}; call the model, not one of its blocks"
            )
        device = hidden.device
        index = self._index(hidden.shape[0], progress)
        mask = progress.mask(self.span).to(device) & self.rows[index].to(device)[:, None]
        counts = mask.sum(1).cpu()
        if not counts.any():
            return hidden
        self._count(self.considered, counts, progress)
        if self.decision is not None:
            mask = self.decision.mask(mask, progress)
            counts = mask.sum(1).cpu()
            if not counts.any():
                return hidden
        self._count(self.applied, counts, progress)
        if (counts > 0).all():
            return self._edited(hidden, index, mask)
        # Only the rows concerned are computed; the others are not even touched.
        chosen = (counts > 0).nonzero()[:, 0]
        here = chosen.to(device)
        return hidden.index_copy(0, here, self._edited(hidden[here], index[chosen], mask[here]))

    def take_in(self, row: int, step: Step) -> None:
        """Ask for the edit in one more row."""
        self.rows[row], self.vectors[row], self.coefficients[row] = True, step.vector, step.coefficient
        if self.seconds is not None and step.second is not None:
            self.seconds[row] = step.second
        self.considered[row], self.applied[row] = 0, 0

    def let_go(self, row: int) -> None:
        """Ask for nothing in a row any more."""
        self.rows[row], self.vectors[row], self.coefficients[row] = False, 0.0, 0.0
        if self.seconds is not None:
            self.seconds[row] = 0.0

    def _count(self, total: Tensor, counts: Tensor, progress: Progress) -> None:
        """Add the `[batch]` positions of the pass at hand to the rows that it stands for."""
        rows, of = progress.concerned()
        total.index_add_(0, torch.zeros_like(rows) if len(self.rows) == 1 else rows, counts[of])

    def _edited(self, hidden: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        kind: dict[str, Any] = {"device": hidden.device, "dtype": hidden.dtype}
        vectors, coefficients = self.vectors[index].to(**kind), self.coefficients[index].to(**kind)
        second = None if self.seconds is None else self.seconds[index].to(**kind)
        return torch.where(mask[..., None], self.edit(hidden, vectors, coefficients, second), hidden)

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
        thread: whose forward passes it concerns; those of others pass untouched.
        paused: above 0 while the plain model is being probed.
    """

    operations: list[Operation] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    excused: set[int] = field(default_factory=set)
    thread: int = field(default_factory=threading.get_ident)
    paused: int = 0

    @property
    def here(self) -> bool:
        """Whether the forward pass at hand is one of its own thread's, and not a probe of the plain model."""
        return threading.get_ident() == self.thread and not self.paused

    @property
    def decisions(self) -> list[Decision]:
        """One for each gate, in the order of the operations."""
        return list({id(each.decision): each.decision for each in self.operations if each.decision}.values())

    @property
    def applications(self) -> dict[str, int]:
        """Positions edited so far, by site."""
        counts: dict[str, int] = {}
        for operation in self.operations:
            counts[str(operation.site)] = counts.get(str(operation.site), 0) + int(operation.applied.sum())
        return counts

    @property
    def fired(self) -> dict[str, list[bool]]:
        """By gate, for every row of the batch as it was first given, whether it let its steps act.

        A gate is called by its site; where several read there, with the beginning of its digest behind it. A gate that
        decides by token has no row's decision to tell; `applications` counts what it let through.
        """
        told = [decision for decision in self.decisions if decision.fired is not None]
        names = _names([decision.gate for decision in told])
        return {name: each.fired.tolist() for name, each in zip(names, told, strict=True) if each.fired is not None}

    def fired_in(self, row: int, plan: Plan) -> dict[str, bool]:
        """Return, for each of one row's gates that decide at the prompt's end, by its site, whether it fired."""
        wanted = {step.gate.digest for step in plan if step.gate is not None and step.coefficient}
        told = [each for each in self.decisions if each.gate.digest in wanted and each.fired is not None]
        names = _names([decision.gate for decision in told])
        return {name: bool(each.fired[row]) for name, each in zip(names, told, strict=True) if each.fired is not None}

    @property
    def by_row(self) -> bool:
        """Whether it holds a plan for every row, and not one for all."""
        return any(len(operation.rows) > 1 for operation in self.operations)

    def select(self, index: Tensor) -> None:
        """Keep (or repeat) rows of a cached batch: row i of the next forward pass is row `index[i]` of the last."""
        self.progress.select(index)

    def at_fork(self, tree: Tree, fork: Fork) -> None:
        """Take in that the pass at hand goes on with the classes of a fork."""
        self.progress.at_fork(tree.rows, fork)
        for decision in self.decisions:
            if not fork.block:
                decision.tokens = None  # of the pass before
            elif decision.tokens is not None:
                decision.tokens = decision.tokens[fork.parents.to(decision.tokens.device)]

    def check(self) -> None:
        """Return when everything that was asked for was applied, or held back by its gate, in every row.

        Raises:
            InterventionError: naming the sites where nothing was applied, the rows, and why.
        """
        idle: dict[str, list[int]] = {}
        for operation in self.operations:
            rows = (operation.rows & (operation.considered == 0)).nonzero()[:, 0].tolist()
            if rows := [row for row in rows if row not in self.excused]:
                # A single plan stands for all rows: nothing to tell apart.
                idle[str(operation.site)] = rows if len(operation.rows) > 1 else []
        if idle:
            where = ", ".join(
                f"{site} (rows {', '.join(map(str, rows))})" if rows else site for site, rows in sorted(idle.items())
            )
            raise self._never_applied(where)

    def check_row(self, row: int) -> None:
        """Return when everything that was asked for in one row was applied, or held back by its gate.

        Raises:
            InterventionError: naming the sites where nothing was applied, and why.
        """
        idle = {str(each.site) for each in self.operations if each.rows[row] and not each.considered[row]}
        if idle and row not in self.excused:
            raise self._never_applied(", ".join(sorted(idle)))

    def _never_applied(self, where: str) -> InterventionError:
        reason = "no forward pass ran" if self.progress.positions is None else "its span selected no token"
        return InterventionError(f"steering was asked for at {where} and never applied: {reason}")


def _names(gates: Sequence[Gate]) -> list[str]:
    sites = [gate.site for gate in gates]
    return [f"{gate.site}#{gate.digest[:8]}" if sites.count(gate.site) > 1 else str(gate.site) for gate in gates]


Round = tuple[Site, int, Edit, Span, str]
"""What one operation does: where, as the how manieth there, how, to which tokens, behind which gate (its digest)."""


@dataclass(eq=False)
class Table:
    """The operations of a number of rows: rows with the same edit, span and gate at the same place share one.

    Args:
        size: how many rows there may be.
    """

    size: int
    _rounds: dict[Round, Operation] = field(init=False, default_factory=dict)

    @property
    def operations(self) -> list[Operation]:
        """In the order in which they act."""
        return [self._rounds[key] for key in sorted(self._rounds, key=lambda key: key[:2])]

    def take_in(self, row: int, plan: Plan) -> None:
        """Let a row have a plan.

        Steps with coefficient 0 ask for nothing and are left out, so they cannot change a bit.
        """
        seen: dict[Site, int] = {}
        for step in plan:
            if step.coefficient == 0:
                continue
            turn = seen.get(step.site, 0)
            seen[step.site] = turn + 1
            key = (step.site, turn, step.edit, step.span, step.gate.digest if step.gate else "")
            if key not in self._rounds:
                self._rounds[key] = self._operation(step)
            self._rounds[key].take_in(row, step)

    def let_go(self, row: int) -> None:
        """Forget a row, and what no other row asks for."""
        for key in [key for key, operation in self._rounds.items() if operation.rows[row]]:
            self._rounds[key].let_go(row)
            if not self._rounds[key].rows.any():
                del self._rounds[key]

    def _operation(self, step: Step) -> Operation:
        width = len(step.vector)
        rows, coefficients = torch.zeros(self.size, dtype=torch.bool), torch.zeros(self.size)
        vectors = torch.zeros(self.size, width)
        seconds = torch.zeros(self.size, width) if step.edit.planar else None
        return Operation(step.site, step.edit, step.span, rows, vectors, coefficients, seconds, self._decision(step))

    def _decision(self, step: Step) -> Decision | None:
        """Return the decision of a step's gate, the same for all steps behind it."""
        if step.gate is None:
            return None
        known = (each.decision for key, each in self._rounds.items() if key[-1] == step.gate.digest)
        return next(known, None) or Decision(step.gate)


def compile_plans(plans: Sequence[Plan]) -> list[Operation]:
    """Return the operations of a batch in order.

    Args:
        plans: one per row.
    """
    table = Table(len(plans))
    for row, plan in enumerate(plans):
        table.take_in(row, plan)
    return table.operations
