"""The projection: how far a completion lies along a direction in the eyes of the *unsteered* model, without a judge.

The text is read by the model as it is, at the site where the direction was fitted, and averaged over its tokens.
Steering moves activations along the direction by itself; only what was written can move this reading, so it tells
whether the behaviour has arrived in the text. The unit is the class separation: 1 is one raw vector further, of a mean
difference the way from the mean of the one class to that of the other.

A short vector is a small unit: where it was fitted to single tokens, two texts that have nothing to do with the
behaviour can lie several units apart. `spread` tells by how much such texts differ.
"""

from collections.abc import Sequence
from statistics import stdev

import torch
from scipy.optimize import isotonic_regression

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.model.handle import Handle
from steersman.prompts import passages
from steersman.recording import Reader
from steersman.where import Span

PROJECTION = "projection"
"""The signal's name."""

PROJECTION_WORDS = "projection of the completion, read without steering, class separations beyond the unsteered one's"

ROWS = 16
"""Completions of one pass; fixed, since rounding can depend on it."""

EXCERPT = 160
"""Characters of the plain texts that tell the spread: about as long as a completion of 32 tokens."""


def read_projections(
    model: Handle,
    direction: Direction,
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    system: str | None = None,
    chat: bool = True,
) -> list[float | None]:
    """Return every completion's place along a direction, in class separations, `None` for one that is empty.

    Formula: `h . v / |v|^2`, with `h` the unsteered model's activations averaged over the completion's tokens and `v`
    the raw vector at the same site; over several sites the mean. Only differences between completions mean anything.

    Args:
        model: the model that the direction is for, not inside a context that steers it.
        direction: one or several sites.
        prompts: one per completion.
        completions: without the prompts.
        system: system prompt of all rows.
        chat: `False` reads prompts as plain text also where the model has a chat template.

    Raises:
        InputError: for counts that do not match.
    """
    if len(prompts) != len(completions):
        raise InputError(f"expected one prompt per completion, got {len(prompts)} for {len(completions)}")
    written = [row for row, text in enumerate(completions) if text.strip()]
    found: list[float | None] = [None] * len(completions)
    if not written:
        return found
    reader = Reader(model, Span.parse("completion"), direction.sites, ROWS)
    rows = [
        (prompt_tokens(model, prompts[row], system, chat=chat), completion_tokens(model, completions[row]))
        for row in written
    ]
    values = torch.zeros(len(rows), dtype=torch.float64)
    for chosen, read in reader.batches(rows, range(len(rows))):
        for site in direction.sites:
            vector = direction.vectors[site].double()
            values[chosen] += read[site].double() @ vector / length(vector) ** 2 / len(direction.sites)
    for row, value in zip(written, values.tolist(), strict=True):
        found[row] = value
    return found


def spread(model: Handle, direction: Direction, prompt: str, *, chat: bool = True) -> float:
    """Return the standard deviation of the projection over plain texts, class separations: what is mere noise.

    The texts are the beginnings of the built-in validation passages, as if they had been written behind a prompt; they
    cost no completion.

    Args:
        model: as in `read_projections`.
        direction: one or several sites.
        prompt: what they are read behind.
        chat: as in `read_projections`.
    """
    texts = [item.text[:EXCERPT] for item in passages("prose", split="validation")]
    read = read_projections(model, direction, [prompt] * len(texts), texts, chat=chat)
    return stdev([value for value in read if value is not None])


def rising(values: Sequence[float]) -> list[float]:
    """Return the rising sequence nearest to some values (least squares): what is left when the noise is averaged out.

    More steering shows no less of a behaviour, up to where the text breaks; readings of single completions do rise and
    fall. Source: isotonic regression, Barlow et al. (1972).
    """
    return [float(value) for value in isotonic_regression(list(values)).x]


def shifts(values: Sequence[float | None], before: Sequence[float | None], sign: int = 1) -> list[float]:
    """Return how far each completion moved from the unsteered one of its prompt, towards a sign.

    Args:
        values: as `read_projections` gives them; an empty completion has not moved.
        before: of the same prompts, unsteered; for an empty one the mean of the others stands.
        sign: 1 or -1.
    """
    there = [value for value in before if value is not None]
    middle = sum(there) / len(there) if there else 0.0
    pairs = zip(values, before, strict=True)
    return [0.0 if value is None else sign * (value - (middle if own is None else own)) for value, own in pairs]
