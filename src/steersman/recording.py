"""Recording: one pass over the texts, any sites, and only the averages asked for are kept.

However many texts there are, no more than one batch of hidden states is ever on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steersman.activations import Activations, Origin
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import RunningMean
from steersman.model.encode import Side, completion_tokens, forward_arguments, pad, prompt_tokens, text_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import capturing, refuse_plans_by_row
from steersman.model.progress import Progress
from steersman.prompts import Example, Pair, content_hash
from steersman.where import POINTS, Point, Site, Span, layer_at

Notify = Callable[[int], None]


def record(
    model: Handle,
    pairs: Sequence[Pair],
    *,
    span: str | Span = "completion",
    opening_tokens: int | None = None,
    layers: Sequence[int | float] | None = None,
    points: Sequence[Point] = ("resid_post",),
    batch_size: int = 16,
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
        batch_size: rows at a time; changes no result beyond rounding.
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
    batch_size: int = 16,
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
        batch_size: rows at a time; changes no result beyond rounding.
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
    batch_size: int = 16,
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
        batch_size: rows at a time; changes no result beyond rounding.
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


@dataclass
class Reader:
    """Reads texts in batches and hands on one average per text and site.

    Args:
        model: the model.
        span: the tokens that are averaged.
        sites: where.
        batch_size: rows at a time, at least 1.
        padding: `left` or `right`.
        system: system prompt before every prompt.
        opening_tokens: keep only so many first tokens of every completion.
    """

    model: Handle
    span: Span
    sites: list[Site]
    batch_size: int = 16
    padding: Side = "left"
    system: str | None = None
    opening_tokens: int | None = None
    _later: dict[Site, RunningMean] = field(init=False)
    _first: dict[Site, RunningMean] = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        if self.batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, got {self.batch_size}")
        if self.opening_tokens is not None and self.opening_tokens < 1:
            raise InputError(f"expected opening_tokens of at least 1, got {self.opening_tokens}")
        if self.span.name == "after_instruction" and not self.model.suffix:
            raise InputError(
                f"expected a model with a chat template for the span after_instruction, got {self.model.name}; "
                "take last"
            )
        self._later = {site: RunningMean(1) for site in self.sites}
        self._first = {site: RunningMean(1) for site in self.sites}

    @property
    def means(self) -> dict[Site, float]:
        """Mean L2 norm of the activations read so far, by site, over all tokens but each text's first.

        A text's first token is an attention sink in many models, with a norm tens of times the others'; it counts only
        where no text has another.
        """
        return {site: float((later if later.count else self._first[site]).mean) for site, later in self._later.items()}

    def origin(self, data: str, n: int) -> Origin:
        """Return where the activations come from, given the data's hash and count."""
        model = self.model
        return Origin(model.name, model.revision, model.template, model.width, model.depth, str(self.span), data, n)

    def tokens(self, example: Example) -> tuple[list[int], list[int]]:
        """Return an example's prompt and completion tokens; a plain text is all prompt.

        Raises:
            InputError: for a completion span without a completion.
        """
        if not example.prompt:
            if self.span.name == "after_instruction":
                raise InputError("expected prompts for the span after_instruction, got a plain text; take last or all")
            return text_tokens(self.model, example.completion), []
        head = prompt_tokens(self.model, example.prompt, self.system)
        if example.completion:
            return head, completion_tokens(self.model, example.completion)[: self.opening_tokens]
        if self.span.name in ("completion", "generated"):
            raise InputError(
                f"expected pairs with completions for the span {str(self.span)!r}, got the bare prompt "
                f"{example.prompt[:60]!r}; record with span='last'"
            )
        return head, []

    def matrix(self, examples: Sequence[Example], notify: Notify | None = None) -> dict[Site, Tensor]:
        """Return `{site: [n, d]}` float32 on the CPU, row i from example i."""
        values = {site: torch.zeros(len(examples), self.model.site_width(site)) for site in self.sites}
        # Texts of like length share a batch; the order changes what is padded, not what comes out.
        rows = [self.tokens(example) for example in examples]
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
        for chosen, read in self.batches(rows, order, notify):
            for site, part in read.items():
                values[site][chosen] = part
        return values

    @torch.inference_mode()
    def batches(
        self, rows: Sequence[tuple[list[int], list[int]]], order: Sequence[int], notify: Notify | None = None
    ) -> Iterator[tuple[list[int], dict[Site, Tensor]]]:
        """Yield, batch by batch, the rows' numbers and their averages `{site: [batch, d]}`, float32, on the CPU.

        Args:
            rows: prompt and completion tokens.
            order: in which they are read.
            notify: called with the number of texts after each batch.
        """
        refuse_plans_by_row(self.model, "recording")
        for start in range(0, len(order), self.batch_size):
            chosen = list(order[start : start + self.batch_size])
            texts, lengths = [rows[i][0] + rows[i][1] for i in chosen], [len(rows[i][0]) for i in chosen]
            batch = pad(self.model, texts, lengths, self.padding)
            read: dict[Site, Tensor] = {}

            def take(site: Site, hidden: Tensor, progress: Progress, read: dict[Site, Tensor] = read) -> None:
                assert progress.positions is not None
                hidden = hidden.float()
                mask = progress.mask(self.span).to(hidden.device)[..., None]
                if not mask.any(1).all():
                    raise InputError(f"expected a span that selects a token of every text, got {self.span}")
                # Not a product: what stands at padding may be infinite.
                read[site] = (hidden.masked_fill(~mask, 0).sum(1) / mask.sum(1)).cpu()
                norms, positions = hidden.norm(dim=-1), progress.positions.to(hidden.device)
                self._later[site].add(norms[positions > 0][:, None].cpu())
                self._first[site].add(norms[positions == 0][:, None].cpu())

            with capturing(self.model, self.sites, take, batch.prompt_lengths):
                # The decoder alone: the language-model head's logits are not needed.
                self.model.layout.base(**forward_arguments(self.model, batch), use_cache=False)
            yield chosen, read
            if notify:
                notify(len(chosen))


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
