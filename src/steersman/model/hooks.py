"""Hooks on decoder blocks: editing and capturing, always as contexts that leave nothing behind."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from steersman.errors import MismatchError
from steersman.model.handle import Handle
from steersman.model.layout import hidden_of, uncompiled, with_hidden
from steersman.model.operations import Editing, Operation, compile_plans
from steersman.model.parts import Place
from steersman.model.progress import Decision, Progress
from steersman.plan import Plan
from steersman.where import Site


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
    with applying(model, compile_plans(plans), prompt_lengths) as active:
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
    with resuming(model, active, prompt_lengths):
        yield active
    active.check()


@contextmanager
def resuming(model: Handle, active: Editing, prompt_lengths: Tensor | None = None) -> Iterator[None]:
    """Run the body with what an `Editing` holds applied, as it stood when this was last left; nothing is checked.

    Between two such contexts the model is free for others, and operations may come and go.

    Args:
        model: the model.
        active: what is under way, made in this thread.
        prompt_lengths: `[batch]`, where they are to be told anew.
    """
    with ExitStack() as stack:
        _enter(stack, model, active, prompt_lengths, hooked=bool(active.operations))
        work: dict[Site, tuple[list[Decision], list[Operation]]] = {}
        for decision in active.decisions:
            work.setdefault(decision.gate.site, ([], []))[0].append(decision)
        for operation in active.operations:
            work.setdefault(operation.site, ([], []))[1].append(operation)
        for site, (decisions, together) in sorted(work.items()):
            place = model.place(site)
            stack.callback(_watch(place, active, _editor(place, decisions, together, active.progress)).remove)
        yield


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
        _enter(stack, model, active, prompt_lengths, hooked=bool(sites))
        for site in sites:
            place = model.place(site)

            def look(hidden: Tensor, site: Site = site, place: Place = place) -> None:
                here = _by_row(hidden, active.progress)
                take(site, (here if place.part is None else here[..., place.part]).detach(), active.progress)

            stack.callback(_watch(place, active, look).remove)
        yield active


def start_rows(model: Handle, index: Tensor) -> None:
    """Tell every context under way that row i of the next forward pass is row `index[i]` of the batch as given."""
    for active in around(model):
        active.progress.index = index.cpu()


def excuse_row(model: Handle, row: int) -> None:
    """Tell every context under way that a row ended by itself before anything was generated in it."""
    for active in around(model):
        active.excused.add(row)


def around(model: Handle) -> list[Editing]:
    """Return this thread's contexts under way, outermost first."""
    return [active for active in list(model.under_way) if active.here]


def refuse_plans_by_row(model: Handle, verb: str) -> None:
    """Return when no context under way holds a plan for every row, which a verb that forms batches would mix up.

    Raises:
        MismatchError: when one does.
    """
    if any(active.by_row for active in around(model)):
        raise MismatchError(
            f"expected one plan for all rows around {verb}, which forms batches of its own, got a plan for every row; "
            "give the plans to the verb itself, or a batch size that holds all rows"
        )


def _enter(stack: ExitStack, model: Handle, active: Editing, prompt_lengths: Tensor | None, *, hooked: bool) -> None:
    named = list(inspect.signature(model.layout.base.forward).parameters)

    def before(_module: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        if active.here:
            given = dict(zip(named, args, strict=False)) | arguments
            tokens = given.get("input_ids")
            active.progress.begin(given, given["inputs_embeds"] if tokens is None else tokens)

    active.progress.suffix, active.progress.bos = model.suffix, model.tokenizer.bos_token_id
    stack.enter_context(model.lock)  # another thread's contexts wait
    model.under_way.append(active)
    stack.callback(model.under_way.remove, active)
    if prompt_lengths is not None:
        # A context around this one (a `steer` around `model.score`) learns from it where the prompts end.
        for each in around(model):
            progress = each.progress
            stack.callback(_restore, progress, progress.first_lengths, progress.told, progress.index)
            progress.first_lengths, progress.told, progress.index = prompt_lengths.cpu(), True, None
            progress.turn += 1
    if hooked:  # without hooks, what is compiled may run compiled
        stack.enter_context(uncompiled())
        stack.callback(model.layout.base.register_forward_pre_hook(before, with_kwargs=True).remove)


def _restore(progress: Progress, first_lengths: Tensor | None, told: bool, index: Tensor | None) -> None:
    progress.first_lengths, progress.told, progress.index = first_lengths, told, index


def _watch(place: Place, active: Editing, change: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Hook a place: `change` sees the hidden states that pass there in the context's thread and may return others."""
    if place.side == "output":

        def after(_module: Any, _args: Any, output: Any) -> Any:
            changed = change(hidden_of(output)) if active.here else None
            return None if changed is None else with_hidden(output, changed)

        return _before_others(place.module, place.module.register_forward_hook(after))

    def before(_module: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> Any:
        changed = change(args[0] if args else arguments["hidden_states"]) if active.here else None
        if changed is None:
            return None
        return ((changed, *args[1:]), arguments) if args else (args, arguments | {"hidden_states": changed})

    return place.module.register_forward_pre_hook(before, with_kwargs=True)


def _editor(
    place: Place, decisions: list[Decision], operations: list[Operation], progress: Progress
) -> Callable[[Tensor], Tensor | None]:
    def change(given: Tensor) -> Tensor | None:
        whole = _by_row(given, progress)
        before = whole if place.part is None else whole[..., place.part]
        # All edits of a site in float32 or better, rounded once at the end; untouched numbers come back as they were.
        hidden = wide = before.to(torch.promote_types(before.dtype, torch.float32))
        for decision in decisions:
            decision.read(hidden, progress)
        for operation in operations:
            hidden = operation(hidden, progress)
        if hidden is wide:
            return None
        if place.part is None:
            return hidden.to(before.dtype).reshape(given.shape)
        changed = whole.clone()
        changed[..., place.part] = hidden.to(before.dtype)
        return changed.reshape(given.shape)

    return change


def _before_others(module: Any, handle: RemovableHandle) -> RemovableHandle:
    """Let a hook act before everybody else's, behind our own: what transformers or the user captures is steered.

    transformers captures hidden states with hooks that it leaves on the blocks.
    """
    hooks = module._forward_hooks
    hooks[handle.id].steersman = True
    for number in [number for number, hook in hooks.items() if not hasattr(hook, "steersman")]:
        hooks.move_to_end(number)
    return handle


def _by_row(hidden: Tensor, progress: Progress) -> Tensor:
    """Return `[batch, seq, d]` also where a block has flattened its tokens to `[batch x seq, d]` (OPT's MLP)."""
    if hidden.ndim != 2 or progress.positions is None:
        return hidden
    return hidden.reshape(*progress.positions.shape, -1)
