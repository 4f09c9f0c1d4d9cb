"""Recording: one pass over the texts, any sites, and only the averages asked for are kept.

However many texts there are, no more than one batch of hidden states is ever on the device.
"""

from collections.abc import Sequence

from steersman.activations import Activations
from steersman.errors import InputError, MismatchError
from steersman.model.encode import Side
from steersman.model.handle import Handle
from steersman.prompts import Example, Pair, content_hash
from steersman.reading import Notify, Reader
from steersman.where import POINTS, Point, Site, Span, layer_at


def record(
    model: Handle,
    pairs: Sequence[Pair],
    *,
    span: str | Span = "completion",
    opening_tokens: int | None = None,
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int | None = None,
    padding: Side = "left",
    system: str | None = None,
    notify: Notify | None = None,
) -> Activations:
    """Return the activations of both sides of every pair, each averaged over a span, at any sites.

    Args:
        model: the model.
        pairs: at least one.
        span: `completion` (mean over the completion's tokens), `last` (last prompt token), or any other span, whose
            tokens are averaged.
        opening_tokens: keep only so many first tokens of every completion, at least 1; all where not given.
        layers: 0-based decoder blocks, negative ones from the end, floats as shares of the depth; all where not given.
        points: where in those blocks; `head` stands for every head.
        batch_size: rows at a time; where not given, as many of like length as fit a batch of so many tokens (see
            `model.budget`). Changes no result beyond rounding.
        padding: `left` or `right`; changes no result beyond rounding.
        system: system prompt before every prompt.
        notify: called with the number of texts after each batch.

    Returns:
        One `[n, d]` float32 matrix for each site and side, and mean norms of the sites' activations. Averages over
        tokens are taken in float32, means over texts in float64.

    Raises:
        InputError: for no pairs, no layer or one out of range, a batch size below 1, a completion span without
            completions, or a span that selects no token of a text.
    """
    reader = Reader(
        model, Span.parse(span), sites_of(model, layers, points), batch_size, padding, system, opening_tokens
    )
    if not pairs:
        raise InputError("expected at least one pair to record, got none")
    values = reader.matrix([side for pair in pairs for side in (pair.positive, pair.negative)], notify)
    return Activations(
        {site: rows[0::2] for site, rows in values.items()},
        {site: rows[1::2] for site, rows in values.items()},
        reader.means,
        reader.origin(content_hash(pairs), len(pairs)),
    )


def record_texts(
    model: Handle,
    positive: Sequence[Example],
    negative: Sequence[Example],
    *,
    span: str | Span = "last",
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int | None = None,
    notify: Notify | None = None,
) -> Activations:
    """Return the activations of two corpora whose texts do not belong together two by two; see `record`.

    Args:
        model: the model.
        positive: texts of the one kind, at least one. `Example("", text)` is a plain text, which no chat template
            wraps: all of it is prompt.
        negative: texts of the other kind, at least one; the counts may differ.
        span: the tokens that are averaged.
        layers: as in `record`.
        points: as in `record`.
        batch_size: as in `record`.
        notify: called with the number of texts after each batch.

    Raises:
        InputError: as `record`.
    """
    reader = Reader(model, Span.parse(span), sites_of(model, layers, points), batch_size)
    if not positive or not negative:
        raise InputError(f"expected texts of both kinds, got {len(positive)} positive and {len(negative)} negative")
    values = reader.matrix([*positive, *negative], notify)
    return Activations(
        {site: rows[: len(positive)] for site, rows in values.items()},
        {site: rows[len(positive) :] for site, rows in values.items()},
        reader.means,
        reader.origin(content_hash([*positive, *negative]), len(positive)),
        paired=False,
    )


def record_models(
    model: Handle,
    other: Handle,
    texts: Sequence[Example],
    *,
    span: str | Span = "last",
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int | None = None,
    notify: Notify | None = None,
) -> Activations:
    """Return the activations of the same texts in two models, the other's as the positive side; see `record`.

    The direction fitted to them leads from the model, which it is for, towards the other: from a base towards its tuned
    model, say.

    Args:
        model: the model to be steered; norms and origin are its own.
        other: a model of the same width and depth that reads the same tokens.
        texts: at least one.
        span: the tokens that are averaged.
        layers: as in `record`.
        points: as in `record`.
        batch_size: as in `record`.
        notify: called with the number of texts after each batch.

    Raises:
        InputError: as `record`.
        MismatchError: for models of another width or depth, or that cut a text into other tokens.
    """
    if not texts:
        raise InputError("expected at least one text to record, got none")
    if (model.width, model.depth) != (other.width, other.depth):
        raise MismatchError(
            f"expected two models of one shape, got width {model.width} and {model.depth} layers against "
            f"{other.width} and {other.depth}"
        )
    wanted = Span.parse(span)
    if (model.tokenizer.bos_token_id, model.suffix) != (other.tokenizer.bos_token_id, other.suffix):
        raise MismatchError(
            "expected two models that begin a text and end a prompt alike, got other BOS tokens or chat templates"
        )
    readers = [Reader(each, wanted, sites_of(each, layers, points), batch_size) for each in (model, other)]
    for text in texts:
        if readers[0].tokens(text) != readers[1].tokens(text):
            words = (text.prompt or text.completion)[:60]
            raise MismatchError(f"expected two models that read the same tokens, got other ones for {words!r}")
    negative, positive = (reader.matrix(texts, notify) for reader in readers)
    return Activations(
        positive,
        negative,
        readers[0].means,
        readers[0].origin(content_hash([*texts, Example(other.name, other.revision)]), len(texts)),
    )


def sites_of(
    model: Handle, layers: Sequence[int | float] | None = None, points: Sequence[Point] = ("resid_post",)
) -> list[Site]:
    """Return the sites at some points of some layers; `head` stands for every head.

    Raises:
        InputError: for no layer or point, or one that the model lacks.
    """
    wanted = range(model.depth) if layers is None else layers
    if not len(wanted):
        raise InputError("expected at least one layer to record, got none")
    if not points or any(point not in POINTS for point in points):
        raise InputError(f"expected points among {', '.join(POINTS)}, got {', '.join(points) or 'none'}")
    chosen = sorted({layer_at(layer, model.depth) for layer in wanted})
    sites: set[Site] = set()
    for layer in chosen:
        for point in points:
            heads = range(model.parts[layer].heads) if point == "head" else [None]
            if not heads:
                raise InputError(f"expected a block with attention heads, got layer {layer} of {model.name}")
            sites.update(Site(layer, point, head) for head in heads)
    return sorted(sites)
