"""The support table, written from what the laws measured."""

import math

import torch
import transformers
from measuring import Deviation, of_cache, of_left_padding, sites, subject

from families import DEPTH, FAMILIES
from steersman.model.loaded import Model

HEAD = f"""# Architectures

Blocks and their parts are found by what they do in a few passes over a few tokens: no list of model names is kept, and
a family that is not below may well work. Every row is a tiny network of {DEPTH} blocks with random weights, built from
the family's configuration, on which every law of `tests/architectures` was held: edits at each point move the logits,
coefficient 0 changes no bit, cached decoding is one full pass, a padded batch is each row alone, rows with plans of
their own do not touch each other, generation in a batch is generation alone, and the model is restored exactly.

`resid_pre` and `resid_post` work in every family below. The points inside a block are counted: *3 of {DEPTH}* are the
blocks where the point exists. It does not exist where a block has no such part (a block with a mixer alone), or has
several that write side by side (attention beside a state-space mixer, experts beside a shared MLP); asked for there,
it is refused with a sentence that says so. `head` needs attention heads: state-space and convolution mixers have none.

*exact* means that logits, whose spread is about 1, agree within 1e-4 without and with steering. Where a family itself
is less exact, the table says by how much without steering; steering then adds nothing to that. *Several tokens behind
a cache* is how options are scored after a shared prompt; where a family gets that wrong, options are scored one by one.
Mamba alone hands its state on in a form of its own: it can be recorded, scored and steered, and its text written with
`model.hf.generate(use_cache=False)`. Hybrids with state-space or convolution layers were measured with transformers 5;
before transformers 5 they keep caches of their own, and what then goes wrong is an error in most.

Measured with transformers {transformers.__version__} and torch {torch.__version__.partition("+")[0]} by
`STEERSMAN_SUPPORT_TABLE=docs/architectures.md pytest tests/architectures`; the same tests fail when this page no longer
tells what they see.
"""
COLUMNS = (
    "family",
    "class",
    "blocks",
    "mixer",
    "MLP",
    "`attn_out`",
    "`mlp_out`",
    "`head`",
    "cached decoding",
    "left padding",
    "several tokens behind a cache",
)


def page() -> str:
    """Return the page, measured anew."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(family) for family in FAMILIES)]
    return HEAD + "\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def row(family: str) -> tuple[str, ...]:
    """Return one family's cells."""
    model = subject(family)
    paths = {module: name for name, module in model.hf.named_modules()}
    blocks = paths[model.layout.blocks]
    inner = {module: name for block in model.layout.blocks for name, module in block.named_modules() if name}
    generates = family != "Mamba"
    return (
        family,
        f"`{type(model.hf).__name__}`",
        f"`{blocks}`",
        _names([part.mixer and inner[part.mixer] for part in model.parts]),
        _names([part.mlp and inner[part.mlp] for part in model.parts]),
        f"{len(sites(model, 'attn_out'))} of {model.depth}",
        f"{len(sites(model, 'mlp_out'))} of {model.depth}",
        _heads(model),
        _exactness(of_cache(family)) if generates else "no `past_key_values`",
        _exactness(of_left_padding(family)),
        "exact" if model.reads_on else "one by one",
    )


def _names(found: list[str | None]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(found) if name) or "—"


def _heads(model: Model) -> str:
    with_heads = [part for part in model.parts if part.heads]
    if not with_heads:
        return "—"
    return f"{with_heads[0].heads} of width {with_heads[0].head_width}, {len(with_heads)} of {model.depth}"


def _exactness(deviation: Deviation) -> str:
    if deviation.exact:
        return "exact"
    # A power of ten: the digits differ from processor to processor.
    return f"within 1e{math.ceil(math.log10(deviation.plain))} by itself"
