"""Where an intervention happens: a `Site` in depth, a span in the text.

A span is a name for a set of *absolute* positions, counted from 0 at a row's first real token (padding has -1).
The mask is computed from those positions and never from the length of the forward pass at hand, so that one full
forward pass and a cached decode, left and right padding, all select the same tokens.
"""

from dataclasses import dataclass
from typing import Literal, final, get_args

from steersman.errors import InputError
from steersman.shapes import Int, Mask, Positions, Tensor

Point = Literal["resid_post"]
SpanName = Literal["all", "prompt", "generated", "last", "completion"]

POINTS: tuple[Point, ...] = get_args(Point)
SPANS: tuple[SpanName, ...] = get_args(SpanName)


@final
@dataclass(frozen=True, order=True)
class Site:
    """One place in the network: the output of a decoder block.

    Args:
        layer: 0-based index of the decoder block; the embedding output is not a layer.
        point: `resid_post`, the residual stream after the block.

    Raises:
        InputError: for a negative layer or an unknown point.
    """

    layer: int
    point: Point = "resid_post"

    def __post_init__(self) -> None:
        """Refuse what is not a place."""
        if self.layer < 0:
            raise InputError(f"expected a 0-based layer, got {self.layer}; resolve negative indices against the depth")
        if self.point not in POINTS:
            raise InputError(f"expected a point among {', '.join(POINTS)}, got {self.point!r}")

    def __str__(self) -> str:
        return f"{self.point}.{self.layer}"

    @staticmethod
    def parse(text: str) -> "Site":
        """Return the site written as `resid_post.14`.

        Raises:
            InputError: when the text is not `<point>.<layer>`, or no point is called so.
        """
        point, dot, layer = text.rpartition(".")
        if not dot or point not in POINTS or not (layer.isascii() and layer.isdigit()):
            raise InputError(f"expected a site such as 'resid_post.14', got {text!r}")
        return Site(int(layer), point)


def check_span(name: str) -> SpanName:
    """Return the span name, checked.

    Raises:
        InputError: when no span has that name.
    """
    if name not in SPANS:
        raise InputError(f"expected a span among {', '.join(SPANS)}, got {name!r}")
    return name


def span_mask(span: SpanName, positions: Positions, prompt_lengths: Int[Tensor, " batch"]) -> Mask:
    """Return which positions of the forward pass at hand belong to the span.

    Args:
        span: `all` (every real token), `prompt`, `generated` and `completion` (everything after the prompt), `last`
            (the last token of the prompt).
        positions: `[batch, seq]` absolute positions, 0 at a row's first real token, -1 at padding.
        prompt_lengths: `[batch]` number of real prompt tokens of each row.

    Returns:
        `[batch, seq]` bool; never true at padding.
    """
    real = positions >= 0
    lengths = prompt_lengths[:, None]
    if span == "all":
        return real
    if span == "prompt":
        return real & (positions < lengths)
    if span == "last":
        return real & (positions == lengths - 1)
    return real & (positions >= lengths)
