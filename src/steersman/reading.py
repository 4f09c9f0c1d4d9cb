"""Reading: batches of token rows pass through the decoder, and one average per row and site is kept.

Only what is needed is computed. A pass ends at the last site asked for; a beginning that the rows share is read once;
rows of like length share a batch, which holds so many tokens, not so many rows; and of the hidden states only the
span's are averaged. None of it changes a result beyond rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steersman.activations import Origin
from steersman.errors import InputError
from steersman.model.attention import attending
from steersman.model.budget import pass_tokens
from steersman.model.encode import Side, completion_tokens, forward_arguments, pad, prompt_tokens, text_tokens
from steersman.model.handle import Handle
from steersman.model.hooks import around, capturing, refuse_plans_by_row, start_rows
from steersman.model.prefixes import Beginning, arguments_behind, by_beginning, read_beginning, shared_length
from steersman.model.progress import Progress
from steersman.prompts import Example
from steersman.where import Site, Span

Notify = Callable[[int], None]
Row = tuple[list[int], list[int]]

BEHIND = 8
"""Batches' worth of tokens that the copies of a shared beginning may hold for one batch: their cache is memory."""


class _Enough(Exception):  # noqa: N818 - nothing went wrong
    """Every site was seen: the rest of the pass is not needed."""


@dataclass(eq=False)
class _Seen:
    """What one pass showed.

    Args:
        sites: how many it shall show.
        span: the tokens that are added up.
        stop: end the pass when all were seen.
        sums: by site, `[batch, d]` float32 over the span's tokens.
        norms: by site, `[batch, seq]`, of every token.
        positions: `[batch, seq]` absolute positions, -1 at padding.
        mask: `[batch, seq]` bool, the span's tokens.
    """

    sites: int
    span: Span
    stop: bool = False
    sums: dict[Site, Tensor] = field(default_factory=dict)
    norms: dict[Site, Tensor] = field(default_factory=dict)
    positions: Tensor = field(default_factory=lambda: torch.empty(0))
    mask: Tensor = field(default_factory=lambda: torch.empty(0))
    _columns: slice = field(default_factory=lambda: slice(0))
    _single: Tensor | None = None

    def __call__(self, site: Site, hidden: Tensor, progress: Progress) -> None:
        """Take the `[batch, seq, d]` hidden states at a site in."""
        if not self.sums:
            self._begin(progress)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        self.norms[site] = torch.linalg.vector_norm(hidden, dim=-1, dtype=wide)
        self.sums[site] = self._sum(hidden)
        if self.stop and len(self.sums) == self.sites:
            raise _Enough

    def _begin(self, progress: Progress) -> None:
        """Find where the span is, once for all sites of the pass."""
        assert progress.positions is not None
        self.positions, self.mask = progress.positions.cpu(), progress.mask(self.span).cpu()
        columns = self.mask.any(0).nonzero()[:, 0].tolist()
        self._columns = slice(columns[0], columns[-1] + 1) if columns else slice(0)
        self._single = self.mask.long().argmax(1) if bool((self.mask.sum(1) == 1).all()) else None

    def _sum(self, hidden: Tensor) -> Tensor:
        if self._single is not None:
            rows = torch.arange(len(hidden), device=hidden.device)
            return hidden[rows, self._single.to(hidden.device)].float()
        mask = self.mask[:, self._columns, None].to(hidden.device)
        # Not a product: what stands at padding may be infinite.
        return hidden[:, self._columns].float().masked_fill(~mask, 0).sum(1)


@dataclass(frozen=True, eq=False)
class _Shared:
    """A beginning that was read, and what it adds to every row.

    Args:
        beginning: its length and cache.
        sums: by site, `[1, d]` float32 over the span's tokens in it.
        counts: `[1]` how many those are.
        norms: `[2, sites]` sums of the norms of its first token and of the later ones.
        tokens: how many those are.
    """

    beginning: Beginning
    sums: dict[Site, Tensor]
    counts: Tensor
    norms: Tensor
    tokens: Tensor


@dataclass
class Reader:
    """Reads texts in batches and hands on one average per text and site.

    Args:
        model: the model.
        span: the tokens that are averaged.
        sites: where.
        batch_size: rows at a time, at least 1; where not given, as many as a batch's tokens allow.
        padding: `left` or `right`; rows behind a shared beginning are padded on the right.
        system: system prompt before every prompt.
        opening_tokens: keep only so many first tokens of every completion.
        together: rows that follow each other and may not be parted: 2 for pairs.
    """

    model: Handle
    span: Span
    sites: list[Site]
    batch_size: int | None = None
    padding: Side = "left"
    system: str | None = None
    opening_tokens: int | None = None
    together: int = 1
    _norms: Tensor = field(init=False)
    _tokens: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, got {self.batch_size}")
        if self.opening_tokens is not None and self.opening_tokens < 1:
            raise InputError(f"expected opening_tokens of at least 1, got {self.opening_tokens}")
        if self.span.name == "after_instruction" and not self.model.suffix:
            raise InputError(
                f"expected a model with a chat template for the span after_instruction, got {self.model.name}; "
                "take last"
            )
        # Of the first tokens and of the later ones: the sums of their norms by site, and how many there were.
        self._norms = torch.zeros(2, len(self.sites), dtype=torch.float64)
        self._tokens = torch.zeros(2, dtype=torch.long)

    @property
    def means(self) -> dict[Site, float]:
        """Mean L2 norm of the activations read so far, by site, over all tokens but each text's first.

        A text's first token is an attention sink in many models, with a norm tens of times the others'; it counts only
        where no text has another.

        Raises:
            InputError: before anything was read.
        """
        if not self._tokens.any():
            raise InputError("expected at least one text before a mean of norms, got none")
        which = 1 if self._tokens[1] else 0
        return dict(zip(self.sites, (self._norms[which] / self._tokens[which]).tolist(), strict=True))

    def origin(self, data: str, n: int) -> Origin:
        """Return where the activations come from, given the data's hash and count."""
        model = self.model
        return Origin(model.name, model.revision, model.template, model.width, model.depth, str(self.span), data, n)

    def tokens(self, example: Example) -> Row:
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
        rows = [self.tokens(example) for example in examples]
        for group in by_beginning([self._shareable(row) for row in rows]):
            # Texts of like length share a batch; the order changes what is padded, not what comes out.
            order = sorted(group, key=lambda i: sum(map(len, rows[i])))
            for chosen, read in self.batches(rows, order, notify):
                for site, part in read.items():
                    values[site][chosen] = part
        return values

    @torch.inference_mode()
    def batches(
        self, rows: Sequence[Row], order: Sequence[int], notify: Notify | None = None
    ) -> Iterator[tuple[list[int], dict[Site, Tensor]]]:
        """Yield, batch by batch, the rows' numbers and their averages `{site: [batch, d]}`, float32, on the CPU.

        Args:
            rows: prompt and completion tokens.
            order: in which they are read.
            notify: called with the number of texts after each batch.

        Raises:
            InputError: for a span that selects no token of a text.
        """
        refuse_plans_by_row(self.model, "recording")
        shared = self._shared([rows[i] for i in order])
        spared = shared.beginning.length if shared else 0
        for chosen in self._cut(order, [sum(map(len, rows[i])) - spared for i in order], spared):
            yield chosen, self._read([rows[i] for i in chosen], shared)
            if notify:
                notify(len(chosen))

    def _read(self, rows: list[Row], shared: _Shared | None) -> dict[Site, Tensor]:
        """Return the averages of one batch, and add its norms to the reader's."""
        texts, lengths = [head + tail for head, tail in rows], [len(head) for head, _ in rows]
        if shared is None:
            arguments = forward_arguments(self.model, pad(self.model, texts, lengths, self.padding))
            arguments["use_cache"] = False
        else:
            arguments = arguments_behind(self.model, shared.beginning, texts)
        seen = _Seen(len(self.sites), self.span, self._may_stop())
        # The decoder alone: the language-model head's logits are not needed.
        watched = capturing(self.model, self.sites, seen, torch.tensor(lengths))
        with watched, suppress(_Enough), attending(self.model.attention):
            self.model.layout.base(**arguments)
        norms, tokens = _norms(seen, self.sites)
        counts = seen.mask.sum(1)
        if shared is not None:
            norms, tokens = norms + len(rows) * shared.norms, tokens + len(rows) * shared.tokens
            counts = counts + shared.counts
        if not counts.all():
            raise InputError(f"expected a span that selects a token of every text, got {self.span}")
        self._norms += norms
        self._tokens += tokens
        sums = {site: seen.sums[site].cpu() for site in self.sites}
        if shared is not None:
            sums = {site: each + shared.sums[site] for site, each in sums.items()}
        return {site: each / counts[:, None] for site, each in sums.items()}

    def _may_stop(self) -> bool:
        """Return whether nobody but this reader waits for what comes behind its last site.

        A context around it may have edits there. Before transformers 5, a model that shall show all its hidden states
        restores its blocks only at the end of a pass.
        """
        config = self.model.hf.config
        shows = any(getattr(config, name, False) for name in ("output_hidden_states", "output_attentions"))
        return not shows and not around(self.model)

    def _shareable(self, row: Row) -> list[int]:
        """Return the tokens of a row that it may share: up to its prompt's last and the template's ending.

        Those are always among a row's own tokens: spans tell by them.
        """
        return row[0][: max(0, len(row[0]) - 1 - self.model.suffix)]

    def _shared(self, rows: list[Row]) -> _Shared | None:
        """Return what the rows begin with, read once; `None` where it does not pay, or not each row would be as alone.

        Tokens counted from a prompt's end may lie in the beginning of one row and not of another; a context around
        counts passes.
        """
        length = shared_length([self._shareable(row) for row in rows]) if rows else 0
        if not length or self.span.from_end or around(self.model) or not self.model.reads_on:
            return None
        seen = _Seen(len(self.sites), self.span)
        with capturing(self.model, self.sites, seen, torch.tensor([len(rows[0][0])])):
            start_rows(self.model, torch.tensor([0]))
            beginning = read_beginning(self.model, rows[0][0][:length])
        norms, tokens = _norms(seen, self.sites)
        sums, counts = {site: each.cpu() for site, each in seen.sums.items()}, seen.mask.sum(1)
        if self.span.name == "end":  # that of a beginning is the end of no text
            sums, counts = {site: torch.zeros_like(each) for site, each in sums.items()}, torch.zeros_like(counts)
        return _Shared(beginning, sums, counts, norms, tokens)

    def _cut(self, order: Sequence[int], lengths: Sequence[int], before: int) -> Iterator[list[int]]:
        """Yield row numbers in batches: of `batch_size` rows, or of so many tokens where there is none.

        Args:
            order: row numbers.
            lengths: of each of them, the tokens of its own.
            before: tokens before those, whose cache every row of a batch has a copy of.
        """
        if self.batch_size is not None:
            for start in range(0, len(order), self.batch_size):
                yield list(order[start : start + self.batch_size])
            return
        budget = pass_tokens(self.model)
        start, longest = 0, 0
        for stop in range(0, len(order), self.together):
            longer = max(longest, *lengths[stop : stop + self.together])
            count = stop + self.together - start
            if stop > start and (count * longer > budget or count * (before + longer) > BEHIND * budget):
                yield list(order[start:stop])
                start, longer = stop, max(lengths[stop : stop + self.together])
            longest = longer
        if start < len(order):
            yield list(order[start:])


def _norms(seen: _Seen, sites: Sequence[Site]) -> tuple[Tensor, Tensor]:
    """Return `[2, sites]` float64 sums of the norms of first tokens and of later ones, and `[2]` how many those are."""
    norms = torch.stack([seen.norms[site].cpu() for site in sites]).double()
    which = [seen.positions == 0, seen.positions > 0]
    return (
        torch.stack([norms[:, tokens].sum(1) for tokens in which]),
        torch.stack([tokens.sum() for tokens in which]),
    )
