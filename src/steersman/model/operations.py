"""Plans of a batch as operations: one edit at one site, for the rows that ask for it."""

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
        decisions: one for each gate.
        excused: first rows that ended by themselves before their span began: nothing was left to edit in them.
        thread: whose forward passes it concerns; those of others pass untouched.
        paused: above 0 while the plain model is being probed.
    """

    operations: list[Operation] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    decisions: list[Decision] = field(default_factory=list)
    excused: set[int] = field(default_factory=set)
    thread: int = field(default_factory=threading.get_ident)
    paused: int = 0

    @property
    def here(self) -> bool:
        """Whether the forward pass at hand is one of its own thread's, and not a probe of the plain model."""
        return threading.get_ident() == self.thread and not self.paused

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
            if fork.block and decision.tokens is not None:
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
            reason = "no forward pass ran" if self.progress.positions is None else "its span selected no token"
            where = ", ".join(
                f"{site} (rows {', '.join(map(str, rows))})" if rows else site for site, rows in sorted(idle.items())
            )
            raise InterventionError(f"steering was asked for at {where} and never applied: {reason}")


def _names(gates: Sequence[Gate]) -> list[str]:
    sites = [gate.site for gate in gates]
    return [f"{gate.site}#{gate.digest[:8]}" if sites.count(gate.site) > 1 else str(gate.site) for gate in gates]


def compile_plans(plans: Sequence[Plan]) -> list[Operation]:
    """Return the operations of a batch in order: rows with the same edit, span and gate at the same place share one.

    Args:
        plans: one per row. Steps with coefficient 0 ask for nothing and are left out, so they cannot change a bit.
    """
    rounds: dict[tuple[Site, int, Edit, Span, str], list[tuple[int, Step]]] = {}
    decisions: dict[str, Decision] = {}
    for row, plan in enumerate(plans):
        seen: dict[Site, int] = {}
        for step in plan:
            if step.coefficient == 0:
                continue
            turn = seen.get(step.site, 0)
            seen[step.site] = turn + 1
            gate = step.gate.digest if step.gate else ""
            if step.gate and gate not in decisions:
                decisions[gate] = Decision(step.gate)
            rounds.setdefault((step.site, turn, step.edit, step.span, gate), []).append((row, step))
    operations: list[Operation] = []
    for (site, _, edit, span, gate), steps in sorted(rounds.items(), key=lambda item: item[0][:2]):
        width = len(steps[0][1].vector)
        rows = torch.zeros(len(plans), dtype=torch.bool)
        vectors, coefficients = torch.zeros(len(plans), width), torch.zeros(len(plans))
        seconds = torch.zeros(len(plans), width) if edit.planar else None
        for row, step in steps:
            rows[row], vectors[row], coefficients[row] = True, step.vector, step.coefficient
            if seconds is not None and step.second is not None:
                seconds[row] = step.second
        operations.append(Operation(site, edit, span, rows, vectors, coefficients, seconds, decisions.get(gate)))
    return operations
