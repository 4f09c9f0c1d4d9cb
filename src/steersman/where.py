"""Where an intervention happens: a `Site` in depth, a `Span` in the text.

A span is a set of *absolute* positions, counted from 0 at a row's first real token (padding has -1). The mask is
computed from those positions and never from the length of the forward pass at hand, so that one full forward pass and a
cached decode, left and right padding, all select the same tokens.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Literal, cast, final, get_args

import torch

from steersman.errors import InputError
from steersman.shapes import Bool, Int, Mask, Positions, Tensor

Point = Literal["resid_pre", "head", "attn_out", "mlp_out", "resid_post"]
SpanName = Literal["all", "prompt", "generated", "completion", "after_instruction", "last", "end", "first", "positions"]

POINTS: tuple[Point, ...] = get_args(Point)
"""In the order in which a block computes them."""

SPANS: tuple[SpanName, ...] = ("all", "prompt", "generated", "completion", "after_instruction", "last", "end")
"""The spans that need no numbers; `first(k)` and `positions(0,3)` are the others."""

_SITE = re.compile(r"(?P<point>[a-z_]+)\.(?P<layer>[0-9]{1,6})(?:\.(?P<head>[0-9]{1,6}))?")
_SPAN = re.compile(r"(?P<name>[a-z_]+)(?:\((?P<numbers>[0-9, -]*)\))?(?P<bos>-bos)?")
LARGEST = 1_000_000_000
"""No text is longer, tokens."""


@final
@total_ordering
@dataclass(frozen=True)
class Site:
    """One place in the network.

    Args:
        layer: 0-based index of the decoder block; the embedding output is not a layer.
        point: `resid_post`, the residual stream after the block; `resid_pre`, before it; `attn_out` and `mlp_out`, what
            its token mixer (attention, or a state-space mixer in its place) and its MLP (or experts) write to the
            stream; `head`, one attention head's output before the output projection.
        head: 0-based head, for the point `head` and for no other.

    Sites are ordered as the network computes them.

    Raises:
        InputError: for a negative layer, an unknown point, a head that is missing or out of place.
    """

    layer: int
    point: Point = "resid_post"
    head: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a place."""
        if self.layer < 0:
            raise InputError(f"expected a 0-based layer, got {self.layer}; resolve negative indices against the depth")
        if self.point not in POINTS:
            raise InputError(f"expected a point among {', '.join(POINTS)}, got {self.point!r}")
        if (self.head is not None) != (self.point == "head"):
            raise InputError(f"expected a head for the point 'head' and for no other, got {self.point!r}, {self.head}")
        if self.head is not None and self.head < 0:
            raise InputError(f"expected a 0-based head, got {self.head}")

    def __str__(self) -> str:
        return f"{self.point}.{self.layer}" if self.head is None else f"{self.point}.{self.layer}.{self.head}"

    def __lt__(self, other: "Site") -> bool:
        """Return whether the network computes this site before the other."""
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, int, int]:
        return (self.layer, POINTS.index(self.point), self.head or 0)

    @staticmethod
    def parse(text: str) -> "Site":
        """Return the site written as `resid_post.14` or `head.14.3`.

        Raises:
            InputError: when the text is not `<point>.<layer>`, or no point is called so.
        """
        match = _SITE.fullmatch(text)
        if match is None or match["point"] not in POINTS or (match["head"] is not None) != (match["point"] == "head"):
            raise InputError(f"expected a site such as 'resid_post.14' or 'head.14.3', got {text[:80]!r}")
        head = match["head"]
        return Site(int(match["layer"]), cast(Point, match["point"]), None if head is None else int(head))


def layer_at(place: int | float, depth: int) -> int:
    """Return the 0-based decoder block at a place.

    Args:
        place: an index, negative from the end, or a float from 0 to 1, a share of the depth: 0.4 is the block
            `int(0.4 x depth)`, 1.0 the last one.
        depth: number of blocks.

    Raises:
        InputError: for a place outside the model.
    """
    if not isinstance(place, int | float) or isinstance(place, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"expected a layer as a number, got {place!r}")
    if isinstance(place, float):
        if not 0 <= place <= 1:
            raise InputError(f"expected a share of the depth from 0 to 1, got {place}")
        return min(depth - 1, int(place * depth))
    if not -depth <= place < depth:
        raise InputError(f"expected a layer from {-depth} to {depth - 1}, got {place}")
    return place % depth


def eligible_layers(depth: int, low: float, high: float, stride: int = 1) -> list[int]:
    """Return the decoder blocks between two depths.

    Args:
        depth: number of blocks.
        low: least share of the depth, 0 to 1.
        high: share of the depth from which on layers are left out, 0 to 1. Arditi et al. (2024) leave out the last
            fifth: a direction there acts on the output tokens, not on what the model decides.
        stride: take every so-manieth layer, at least 1.

    Raises:
        InputError: when none is left.
    """
    layers = [layer for layer in range(depth) if low * depth <= layer < int(high * depth)][::stride]
    if not layers:
        raise InputError(f"expected at least one layer between depths {low} and {high} of {depth} layers, got none")
    return layers


def layers_in(text: str, depth: int) -> list[int]:
    """Return the decoder blocks that a text names: `14`, `-1`, `0.4`, `all`, ranges `8:16`, several with commas.

    Args:
        text: indices (negative from the end), shares of the depth (with a point), or ranges of either, whose end is
            left out, such as `0.3:0.7`.
        depth: number of blocks.

    Raises:
        InputError: for anything else, or an empty range.
    """
    layers: set[int] = set()
    for part in text.split(","):
        start, colon, stop = part.strip().partition(":")
        try:
            if part.strip() == "all":
                chosen: Iterable[int] = range(depth)
            elif colon:
                first = layer_at(_number(start), depth) if start.strip() else 0
                end = _number(stop) if stop.strip() else depth
                # The end is left out, so that it may lie one behind the last block: its number, or the share 1.0.
                whole = end == (1.0 if isinstance(end, float) else depth)
                chosen = range(first, depth if whole else layer_at(end, depth))
            else:
                chosen = [layer_at(_number(start), depth)]
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"expected layers such as 14, -1, 0.4, 8:16 or all, got {text!r}") from None
        if not chosen:
            raise InputError(f"expected a range of layers that holds one, got {part.strip()!r}")
        layers.update(chosen)
    return sorted(layers)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


@final
@dataclass(frozen=True)
class Span:
    """Which tokens of a text.

    Args:
        name: `all` real tokens; `prompt`; `generated` or `completion`, everything after the prompt;
            `after_instruction`, everything after the user's words: the rest of the chat template and what is generated;
            `last`, the prompt's last token; `end`, the text's last token (for recording only: while a text is being
            written, nobody knows its end); `first`, the first `numbers[0]` tokens of the text; `positions`, those
            listed.
        numbers: how many for `first`; the absolute positions, 0-based, for `positions`. Negative ones count from the
            prompt's end: -1 is the prompt's last token.
        bos: whether the beginning-of-sequence token may belong. Where false, a first token that is one is left out.

    Raises:
        InputError: for an unknown name, or numbers that do not go with it.

    Sources: `first`, the front alignment of Turner et al. (2023), "Activation addition"; `after_instruction`, the
    positions of Arditi et al. (2024), section 2.3, and of Panickssery et al. (2023), section 3.
    """

    name: SpanName
    numbers: tuple[int, ...] = ()
    bos: bool = True

    def __post_init__(self) -> None:
        """Refuse what selects nothing."""
        if self.name not in get_args(SpanName):
            raise InputError(f"expected a span among {', '.join(SPANS)}, first(k), positions(i,j), got {self.name!r}")
        if self.name == "first" and not (len(self.numbers) == 1 and 1 <= self.numbers[0] <= LARGEST):
            raise InputError(f"expected first(k) with k of at least 1, got {self}")
        if self.name == "positions":
            if not self.numbers or max(map(abs, self.numbers)) > LARGEST:
                raise InputError(
                    "expected at least one 0-based position, as in positions(0,3), or one counted from the prompt's "
                    f"end, as in positions(-1), got {str(self)[:80]}"
                )
            object.__setattr__(self, "numbers", tuple(sorted(set(self.numbers))))
        elif self.name != "first" and self.numbers:
            raise InputError(f"expected no numbers with the span {self.name!r}, got {self.numbers[:10]}")

    def __str__(self) -> str:
        numbers = f"({','.join(map(str, self.numbers))})" if self.numbers else ""
        return f"{self.name}{numbers}{'' if self.bos else '-bos'}"

    @property
    def from_end(self) -> bool:
        """Whether it lists tokens by their distance from the prompt's end."""
        return self.name == "positions" and min(self.numbers) < 0

    @staticmethod
    def parse(text: "str | Span") -> "Span":
        """Return the span written as its name, `first(3)` or `positions(0,3)`, with `-bos` behind to leave BOS out.

        `mean` is another word for `all`: what is read over several tokens is always averaged.

        Raises:
            InputError: when no span is written so.
        """
        if isinstance(text, Span):
            return text
        match = _SPAN.fullmatch(text)
        names = (*get_args(SpanName), "mean")
        if match is None or match["name"] not in names:
            raise InputError(f"expected a span among {', '.join(SPANS)}, first(k), positions(i,j), got {text[:80]!r}")
        try:
            numbers = tuple(int(part) for part in (match["numbers"] or "").split(",") if part.strip())
        except ValueError:  # "1 2", or thousands of digits
            raise InputError(f"expected whole numbers with commas between them in the span {text[:80]!r}") from None
        name: Any = "all" if match["name"] == "mean" else match["name"]
        return Span(name, numbers, match["bos"] is None)

    @staticmethod
    def of_mask(mask: Sequence[bool] | Bool[Tensor, " seq"]) -> "Span":
        """Return the span of an explicit mask over a text's tokens, the first one at index 0; false beyond its end.

        Raises:
            InputError: for a mask that is nowhere true, or of several texts.
        """
        if torch.as_tensor(mask).ndim != 1:
            raise InputError(f"expected the mask of one text, [seq], got shape {list(torch.as_tensor(mask).shape)}")
        return Span("positions", tuple(index for index, chosen in enumerate(mask) if bool(chosen)))

    def mask(
        self,
        positions: Positions,
        prompt_lengths: Int[Tensor, " batch"],
        suffix: int = 0,
        begins: Bool[Tensor, " batch"] | None = None,
    ) -> Mask:
        """Return which positions of the forward pass at hand belong to the span.

        Args:
            positions: `[batch, seq]` absolute positions, 0 at a row's first real token, -1 at padding.
            prompt_lengths: `[batch]` number of real prompt tokens of each row.
            suffix: number of tokens that end every prompt after the user's words (the chat template's).
            begins: `[batch]` whether a row's first token is a beginning-of-sequence token; where not given, it is.

        Returns:
            `[batch, seq]` bool; never true at padding.
        """
        lengths = prompt_lengths[:, None]
        real = positions >= 0
        if self.name == "prompt":
            chosen = real & (positions < lengths)
        elif self.name == "last":
            chosen = real & (positions == lengths - 1)
        elif self.name == "end":
            chosen = real & (positions == positions.max(1, keepdim=True).values)
        elif self.name == "after_instruction":
            chosen = real & (positions >= lengths - suffix)
        elif self.name == "first":
            chosen = real & (positions < self.numbers[0])
        elif self.name == "positions":
            numbers = torch.tensor(self.numbers, device=positions.device)
            chosen = real & (torch.isin(positions, numbers) | torch.isin(positions - lengths, numbers[numbers < 0]))
        elif self.name == "all":
            chosen = real
        else:
            chosen = real & (positions >= lengths)
        if self.bos:
            return chosen
        first = positions == 0
        return chosen & ~(first if begins is None else first & begins[:, None])
