"""Recipes: a paper's own combination of direction, edit, span and coefficient, ready to steer with."""

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.model.encode import completion_tokens, text_tokens
from steersman.model.handle import Handle
from steersman.plan import Plan
from steersman.prompts import Example, content_hash
from steersman.recording import Reader
from steersman.where import Point, Site, Span, layer_at


def word_pair(
    model: Handle,
    positive: str,
    negative: str,
    layer: int | float,
    *,
    coefficient: float = 1.0,
    unit: str = "raw",
    point: Point = "resid_pre",
    start: int = 0,
) -> Plan:
    """Return the plan of activation addition from a single pair of words or short phrases.

    The two are read as plain texts, the shorter one filled with spaces to as many tokens as the other. Formula, for the
    activations h at a site and position i: `h'[start + i] = h[start + i] + c (h_positive[i] - h_negative[i])`. The
    beginning-of-sequence token, equal in both, comes to nothing and gets no step.

    Equivalent to one step per position, an `Add` of its difference with the span `positions(i)`. It fails where the
    words are split into tokens that do not face their counterparts, and, behind a chat template, where the steered
    positions hold the template's first tokens instead of the user's words: `start` moves them. A word that stands first
    in a text may itself become a massive activation, which the difference is then mostly made of.

    Args:
        model: the model.
        positive: what to steer towards, such as `Love`.
        negative: what to steer away from, such as `Hate`.
        layer: 0-based decoder block, negative from the end, or a float as a share of the depth.
        coefficient: how strongly, in `unit`; the paper's c with `raw`.
        unit: `raw` (multiples of the difference) or `norm` (fractions of the words' mean activation norm at the site).
        point: where in the block; the paper reads and writes a block's input.
        start: 0-based position of the text at which the first token's difference is added.

    Raises:
        InputError: for texts without tokens or that come to the same tokens, a negative start, or a site that the model
            lacks.

    Reference: Turner et al. (2023), "Activation addition: Steering language models without optimization", section 3.2.
    """
    if start < 0:
        raise InputError(f"expected a start of at least 0, got {start}")
    if point == "head":
        raise InputError("expected a point of the residual stream or a part of a block for a word pair, got 'head'")
    rows = _facing(model, positive, negative)
    if rows[0] == rows[1]:
        raise InputError(f"expected two texts of different tokens, got {positive!r} and {negative!r}")
    site = Site(layer_at(layer, model.depth), point)
    data = content_hash([Example("", positive), Example("", negative)])
    plan = Plan()
    for index in range(len(rows[0])):
        # Up to here both read the same, and so does the model.
        if rows[0][: index + 1] == rows[1][: index + 1]:
            continue
        reader = Reader(model, Span("positions", (index,)), [site])
        ((_, read),) = reader.batches([(row, []) for row in rows], [0, 1])
        method = f"word pair, position {index} of {len(rows[0])}"
        direction = Direction({site: read[site][0] - read[site][1]}, reader.means, reader.origin(data, 1), method)
        plan += Plan(direction, span=Span("positions", (start + index,)), coefficient=coefficient, unit=unit)
    return plan


def _facing(model: Handle, positive: str, negative: str) -> list[list[int]]:
    """Return both texts' tokens, the shorter row filled with the space's token."""
    rows = [text_tokens(model, text) for text in (positive, negative)]
    longest = max(map(len, rows))
    space = completion_tokens(model, " ")[-1]
    return [row + [space] * (longest - len(row)) for row in rows]
