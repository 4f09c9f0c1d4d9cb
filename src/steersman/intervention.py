"""Steering: any call to the model inside the context is steered, and the model is restored exactly after."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from steersman.errors import InputError
from steersman.model.handle import Handle
from steersman.model.hooks import Editing, editing
from steersman.plan import Plan


@contextmanager
def steer(
    model: Handle, plans: Plan | Sequence[Plan], *, prompt_lengths: Sequence[int] | None = None
) -> Iterator[Editing]:
    """Run the body with the model steered; any Hugging Face call inside is, with or without a cache.

    Args:
        model: a loaded model; call `model.hf`, `model.hf.generate` or the model's own verbs inside.
        plans: one for every row of any batch, or one per row.
        prompt_lengths: real tokens of each row's prompt, for passes that hold prompt and completion at once (a plain
            forward, generation without a cache). Where not given, a pass without a cached past is all prompt.

    Yields:
        The interventions under way; `.applications` says how many positions were edited, by site.

    Raises:
        InputError: for no plan.
        MismatchError: when a plan does not fit the model, or a batch does not have as many rows as there are plans.
        InterventionError: at the end, when something asked for was never applied.
    """
    each = [plans] if isinstance(plans, Plan) else list(plans)
    if not each:
        raise InputError("expected at least one plan to steer with, got none")
    lengths = None if prompt_lengths is None else torch.tensor(list(prompt_lengths))
    with editing(model, each, lengths) as active:
        yield active
