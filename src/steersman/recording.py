"""Recording: one pass over the pairs, every layer, and only the averages asked for are kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from steersman.activations import Activations, Origin
from steersman.errors import InputError
from steersman.maths.geometry import RunningMean
from steersman.model.encode import Side, completion_tokens, forward_arguments, pad, prompt_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import Progress, capturing
from steersman.prompts import Example, Pair, content_hash
from steersman.where import Site, SpanName, check_span, span_mask


@torch.inference_mode()
def record(
    model: Handle,
    pairs: Sequence[Pair],
    *,
    span: str = "completion",
    opening_tokens: int | None = None,
    layers: Sequence[int] | None = None,
    batch_size: int = 16,
    padding: Side = "left",
    system: str | None = None,
    notify: Callable[[int], None] | None = None,
) -> Activations:
    """Return the activations of both sides of every pair, each averaged over a span, at the output of every block.

    Args:
        model: the model.
        pairs: at least one.
        span: `completion` (mean over the completion's tokens), `last` (last prompt token), `prompt` or `all` (means).
        opening_tokens: keep only so many first tokens of every completion, at least 1; all where not given.
        layers: 0-based decoder blocks, negative ones from the end; all where not given.
        batch_size: rows at a time; changes no result beyond rounding.
        padding: `left` or `right`; changes no result beyond rounding.
        system: system prompt before every prompt.
        notify: called with the number of texts after each batch.

    Returns:
        One `[n, d]` float32 matrix for each site and side, and mean residual norms. Averages over tokens are taken in
        float32, means over texts in float64.

    Raises:
        InputError: for no pairs, no layer or one out of range, a batch size below 1, or a completion span without
            completions.
    """
    kind = check_span(span)
    if not pairs:
        raise InputError("expected at least one pair to record, got none")
    if batch_size < 1:
        raise InputError(f"expected a batch size of at least 1, got {batch_size}")
    if opening_tokens is not None and opening_tokens < 1:
        raise InputError(f"expected opening_tokens of at least 1, got {opening_tokens}")
    sites = _sites(model, layers)
    examples = [example for pair in pairs for example in (pair.positive, pair.negative)]
    rows = [_tokens(model, example, kind, system, opening_tokens) for example in examples]
    pooled = {site: torch.zeros(len(rows), model.width) for site in sites}
    norms = {site: RunningMean(1) for site in sites}
    # Texts of like length share a batch; the order changes what is padded, not what comes out.
    order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = pad(model, [rows[i][0] + rows[i][1] for i in chosen], [len(rows[i][0]) for i in chosen], padding)

        def take(site: Site, hidden: Tensor, progress: Progress, chosen: list[int] = chosen) -> None:
            assert progress.positions is not None
            assert progress.prompt_lengths is not None
            hidden = hidden.float()
            mask = span_mask(kind, progress.positions, progress.prompt_lengths)[..., None]
            pooled[site][chosen] = ((hidden * mask).sum(1) / mask.sum(1)).cpu()
            # A text's first token is an attention sink in many models, with a norm tens of times the others'.
            norms[site].add(hidden.norm(dim=-1)[progress.positions > 0][:, None].cpu())

        with capturing(model, sites, take, batch.prompt_lengths):
            # The decoder alone: the language-model head's logits are not needed.
            arguments = forward_arguments(model, batch)
            model.layout.base(**arguments, use_cache=False)
        if notify:
            notify(len(chosen))
    origin = Origin(
        model.name, model.revision, model.template, model.width, model.depth, kind, content_hash(pairs), len(pairs)
    )
    return Activations(
        {site: values[0::2] for site, values in pooled.items()},
        {site: values[1::2] for site, values in pooled.items()},
        {site: float(mean.mean) for site, mean in norms.items()},
        origin,
    )


def _sites(model: Handle, layers: Sequence[int] | None) -> list[Site]:
    wanted = range(model.depth) if layers is None else layers
    if not len(wanted):
        raise InputError("expected at least one layer to record, got none")
    for layer in wanted:
        if not -model.depth <= layer < model.depth:
            raise InputError(f"expected a layer from {-model.depth} to {model.depth - 1}, got {layer}")
    return sorted({Site(layer % model.depth) for layer in wanted})


def _tokens(
    model: Handle, example: Example, span: SpanName, system: str | None, opening: int | None
) -> tuple[list[int], list[int]]:
    head = prompt_tokens(model, example.prompt, system)
    if not example.completion:
        if span in ("completion", "generated"):
            raise InputError(
                f"expected pairs with completions for the span {span!r}, got the bare prompt {example.prompt[:60]!r}; "
                "record with span='last'"
            )
        return head, []
    return head, completion_tokens(model, example.completion)[:opening]
