"""Recording sums in place of activations: memory does not grow with the number of texts.

Texts are taken a window at a time, sorted by length within it, and read in batches of whole pairs; what a batch gave is
added up and forgotten. The texts may come from a generator and are asked for only once.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from torch import Tensor

from steersman.activations import Moments, add_rows, empty_sides
from steersman.errors import InputError
from steersman.model.encode import Side
from steersman.model.handle import Handle
from steersman.prompts import Example, Pair
from steersman.reading import Notify, Reader
from steersman.recording import sites_of
from steersman.where import Point, Site, Span

WINDOW = 16
"""Batches whose texts are held, tokenised and sorted at a time."""

ROWS = 16
"""Texts of a batch, as far as the window is concerned, where no batch size is given."""


def record_moments(
    model: Handle,
    pairs: Iterable[Pair],
    *,
    span: str | Span = "completion",
    opening_tokens: int | None = None,
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int | None = None,
    padding: Side = "left",
    system: str | None = None,
    notify: Notify | None = None,
    second: bool = False,
) -> Moments:
    """Return sums over the activations that `record` would return, in memory that does not grow with the pairs.

    The mean difference and the centred mean need no more; PCA and LDA need `second`. Diagnostics that look at single
    texts (`vote_share`, `separation`) need `record`.

    Args:
        model: the model.
        pairs: at least one; a generator will do.
        span: as in `record`, as are all that are not described here.
        opening_tokens: keep only so many first tokens of every completion, at least 1.
        layers: 0-based decoder blocks or shares of the depth.
        points: where in those blocks.
        batch_size: as in `record`, in whole pairs: an odd number is rounded down, and 1 is taken as 2.
        padding: `left` or `right`.
        system: system prompt before every prompt.
        notify: called with the number of texts after each batch.
        second: keep second moments: six `[d, d]` float64 matrices a site, 48 d² bytes (16 MB at d = 576, 0.8 GB at
            d = 4,096). Name the layers.

    Raises:
        InputError: as `record`.
    """
    _check_batch(batch_size)
    reader = Reader(
        model,
        Span.parse(span),
        sites_of(model, layers, points),
        None if batch_size is None else max(2, batch_size // 2 * 2),
        padding,
        system,
        opening_tokens,
        together=2,
    )
    sums = _Sums(reader, paired=True, second=second)
    digest = _Digest()
    count = 0
    for window in _windows(pairs, WINDOW * (reader.batch_size or ROWS) // 2):
        rows = [reader.tokens(side) for pair in window for side in (pair.positive, pair.negative)]
        longest = [max(sum(map(len, rows[index + side])) for side in (0, 1)) for index in range(0, len(rows), 2)]
        by_length = sorted(range(len(window)), key=lambda i: longest[i])
        order = [2 * pair + side for pair in by_length for side in (0, 1)]
        for chosen, read in reader.batches(rows, order, notify):
            parity = [(count + row // 2) % 2 for row in chosen[0::2]]
            for site, values in read.items():
                sums.add(site, parity, values[0::2], values[1::2])
        digest.add(window)
        count += len(window)
    if not count:
        raise InputError("expected at least one pair to record, got none")
    return Moments(sums.even, sums.odd, reader.means, reader.origin(digest.end(), count))


def record_text_moments(
    model: Handle,
    positive: Iterable[Example],
    negative: Iterable[Example],
    *,
    span: str | Span = "last",
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int | None = None,
    notify: Notify | None = None,
    second: bool = False,
) -> Moments:
    """Return sums over the activations that `record_texts` would return: corpora of any size; see `record_moments`.

    Args:
        model: the model.
        positive: texts of the one kind, at least one; a generator will do.
        negative: texts of the other kind, at least one; the counts may differ.
        span: as in `record_texts`, as are all that are not described here.
        layers: 0-based decoder blocks or shares of the depth.
        points: where in those blocks.
        batch_size: as in `record`.
        notify: called with the number of texts after each batch.
        second: keep second moments: four `[d, d]` float64 matrices a site, 32 d² bytes (11 MB at d = 576, 0.5 GB at
            d = 4,096). Name the layers.

    Raises:
        InputError: as `record_texts`.
    """
    _check_batch(batch_size)
    reader = Reader(model, Span.parse(span), sites_of(model, layers, points), batch_size)
    sums = _Sums(reader, paired=False, second=second)
    digest = _Digest()
    counts = [0, 0]
    for side, texts in enumerate((positive, negative)):
        for window in _windows(texts, WINDOW * (batch_size or ROWS)):
            rows = [reader.tokens(text) for text in window]
            order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
            for chosen, read in reader.batches(rows, order, notify):
                parity = [(counts[side] + row) % 2 for row in chosen]
                for site, values in read.items():
                    sums.add(site, parity, *((values, None) if side == 0 else (None, values)))
            digest.add(window)
            counts[side] += len(window)
    if not all(counts):
        raise InputError(f"expected texts of both kinds, got {counts[0]} positive and {counts[1]} negative")
    return Moments(sums.even, sums.odd, reader.means, reader.origin(digest.end(), counts[0]))


class _Sums:
    """The sums of the even and of the odd pairs at every site."""

    def __init__(self, reader: Reader, *, paired: bool, second: bool) -> None:
        widths = {site: reader.model.site_width(site) for site in reader.sites}
        self.even, self.odd = (
            {site: empty_sides(width, paired=paired, second=second) for site, width in widths.items()} for _ in range(2)
        )

    def add(self, site: Site, parity: Sequence[int], positive: Tensor | None, negative: Tensor | None) -> None:
        """Add a batch's `[n, d]` rows to the half that each belongs to."""
        for number, half in enumerate((self.even[site], self.odd[site])):
            rows = [row for row, which in enumerate(parity) if which == number]
            if rows:
                add_rows(half, *(None if side is None else side[rows] for side in (positive, negative)))


class _Digest:
    """`content_hash` of items that come bit by bit: the same bytes, hashed as they come."""

    def __init__(self) -> None:
        self._hash, self._before = hashlib.sha256(b"["), b""

    def add(self, items: Iterable[Any]) -> None:
        """Take items in."""
        for item in items:
            text = json.dumps(asdict(item), sort_keys=True, ensure_ascii=False)
            self._hash.update(self._before + text.encode())
            self._before = b", "

    def end(self) -> str:
        """Return the 64 hex digits."""
        self._hash.update(b"]")
        return self._hash.hexdigest()


def _windows(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while window := list(islice(rest, size)):
        yield window


def _check_batch(batch_size: int | None) -> None:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"expected a batch size of at least 1, got {batch_size}")
