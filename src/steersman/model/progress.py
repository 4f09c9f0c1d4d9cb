"""Where a forward pass stands in its texts, and what the gates have decided about them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steersman.errors import InterventionError, MismatchError
from steersman.gates import Gate
from steersman.model.forking import Fork
from steersman.where import Span


@dataclass(eq=False)
class Progress:
    """Where the forward pass at hand stands: absolute positions and prompt lengths of its rows.

    Read from what the decoder is called with: the 2-D attention mask and the length of its cache.

    Args:
        suffix: number of tokens that the chat template sets after the user's words.
        bos: the beginning-of-sequence token; `None` where the tokenizer has none.
        positions: `[batch, seq]` absolute positions of the pass at hand, -1 at padding; `None` before the first pass.
        prompt_lengths: `[batch]` real prompt tokens of each row of the pass at hand.
        begins: `[batch]` whether a row's first token is a beginning-of-sequence token, where the pass holds it.
        first_lengths: `[rows]` prompt lengths of the batch as it was first given.
        told: whether those were given, and not read from the first pass.
        index: `[batch]` which first row each row is now; `None` while none has been dropped or repeated.
        members: `[first rows concerned]` and, where a row of a forked pass stands for several, which one stands for
            each of them; `None` where every row stands for itself.
        turn: how many passes without a cached past have begun.
        end: positions that the last pass reached, padding counted.
        doubt: why nobody can tell where the prompts end, where that is so; empty otherwise.
    """

    suffix: int = 0
    bos: int | None = None
    positions: Tensor | None = None
    prompt_lengths: Tensor | None = None
    begins: Tensor | None = None
    first_lengths: Tensor | None = None
    told: bool = False
    index: Tensor | None = None
    members: tuple[Tensor, Tensor] | None = None
    turn: int = 0
    end: int = 0
    doubt: str = ""

    def begin(self, arguments: dict[str, Any], tokens: Tensor) -> None:
        """Take the arguments of one forward pass in: `tokens` is `[batch, seq]` or `[batch, seq, d]`."""
        batch, length = tokens.shape[0], tokens.shape[1]
        cache = arguments.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None and hasattr(cache, "get_seq_length") else 0
        if arguments.get("cache_params") is not None:
            raise MismatchError(
                "expected a cache that tells how long its past is, got one that does not (a state-space model's); "
                "give use_cache=False"
            )
        mask = arguments.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise MismatchError(
                "expected a 2-D attention mask [batch, past + seq] to know absolute positions; got another form"
            )
        if mask is None:
            positions = torch.arange(past, past + length, device=tokens.device).expand(batch, length)
        else:
            if mask.shape[1] < past + length:
                raise MismatchError(f"expected an attention mask over {past + length} positions, got {mask.shape[1]}")
            mask = mask[:, : past + length]
            counted = mask.long().cumsum(1) - 1
            positions = counted.masked_fill(mask == 0, -1)[:, past:]
        if self.first_lengths is None or (past == 0 and not self.told):
            # A new text: whatever rows were kept of the last one.
            self.first_lengths, self.index, self.doubt = positions.max(1).values + 1, None, ""
        elif not self.told and past and (length > 1 or past != self.end):
            # A prompt in pieces, a draft taken back, a second text behind a kept cache: all look like this.
            self.doubt = f"a pass of {length} tokens followed {past} cached ones"
        lengths = self.first_lengths.to(positions.device)
        lengths = lengths if self.index is None else lengths[self.index.to(positions.device)]
        if lengths.shape[0] != batch:
            raise MismatchError(
                f"expected a batch of {lengths.shape[0]} rows, whose prompts are known, got {batch}; "
                "when rows of a cached batch are dropped or repeated, call .select(index) on what the context yields"
            )
        self.positions, self.prompt_lengths = positions, lengths
        # Passes that follow a tree are of one batch's rows, some at a time: what was decided of the others stays.
        self.turn += past == 0 and self.members is None
        self.end = past + length
        first = positions == 0
        if self.bos is None:
            self.begins = torch.zeros(batch, dtype=torch.bool, device=positions.device)
        else:
            # Of embeddings nobody can tell what token they were: their first position counts as a beginning.
            self.begins = first.any(1) if tokens.ndim == 3 else (first & (tokens == self.bos)).any(1)

    def mask(self, span: Span) -> Tensor:
        """Return `[batch, seq]` bool: which positions of the pass at hand belong to a span.

        Raises:
            MismatchError: when the span depends on where the prompts end, and nobody said where.
        """
        assert self.positions is not None
        assert self.prompt_lengths is not None
        if span.name not in ("all", "first", "positions", "end") or span.from_end:
            self.know(f"the span {span}")
        return span.mask(self.positions, self.prompt_lengths, self.suffix, self.begins)

    def know(self, what: str) -> None:
        """Return when it is known where the prompts end.

        Raises:
            MismatchError: when it is not, naming what asks for it.
        """
        if self.doubt:
            raise MismatchError(
                f"expected to know where the prompts end for {what}, but {self.doubt}; give prompt_lengths"
            )

    @property
    def rows(self) -> Tensor:
        """`[batch]` which first row each row of the pass at hand is."""
        assert self.positions is not None
        return torch.arange(self.positions.shape[0]) if self.index is None else self.index

    def at_fork(self, rows: Tensor, fork: Fork) -> None:
        """Take in that the pass at hand goes on with the classes of a fork; `rows` are the numbers of the tree's."""
        self.index, self.members = rows[fork.firsts], (rows, fork.members)
        if fork.block and self.positions is not None:
            parents = fork.parents.to(self.positions.device)
            assert self.prompt_lengths is not None
            assert self.begins is not None
            self.positions, self.begins = self.positions[parents], self.begins[parents]
            self.prompt_lengths = self.prompt_lengths[parents]

    def concerned(self) -> tuple[Tensor, Tensor]:
        """Return the first rows that the pass at hand stands for, and for each its row of the pass, `[n]` both."""
        if self.members is not None:
            return self.members
        rows = self.rows
        return rows, torch.arange(len(rows))

    def select(self, index: Tensor) -> None:
        """Keep (or repeat) rows: row i of the next forward pass is row `index[i]` of the last."""
        index = index.cpu()
        self.index = index if self.index is None else self.index[index]


@dataclass(eq=False)
class Decision:
    """What a gate has decided, for the texts under way.

    Args:
        gate: the gate.
        decided: `[rows]` bool, by first row: whether the prompt's end was seen.
        fired: `[rows]` bool: whether it fired there.
        tokens: `[batch, seq]` bool for the pass at hand, where the gate decides by token.
    """

    gate: Gate
    decided: Tensor | None = None
    fired: Tensor | None = None
    tokens: Tensor | None = None
    turn: int = 0

    def read(self, hidden: Tensor, progress: Progress) -> None:
        """Take in the `[batch, seq, d]` activations at the gate's site, before any edit there."""
        assert progress.positions is not None
        assert progress.prompt_lengths is not None
        assert progress.first_lengths is not None
        if self.gate.when == "token":
            batch, length, _ = hidden.shape
            self.tokens = self.gate.fires(hidden.reshape(batch * length, -1)).reshape(batch, length)
            return
        progress.know(f"the gate at {self.gate.site}")
        if self.decided is None or self.fired is None or self.turn != progress.turn:
            self.decided = torch.zeros(len(progress.first_lengths), dtype=torch.bool)
            self.fired, self.turn = self.decided.clone(), progress.turn
        positions, lengths = progress.positions, progress.prompt_lengths[:, None]
        row, column = (positions == lengths - 1).to(hidden.device).nonzero(as_tuple=True)
        if len(row):
            here, fired = torch.zeros(2, len(hidden), dtype=torch.bool)
            here[row.cpu()] = True
            fired[row.cpu()] = self.gate.fires(hidden[row, column]).cpu()
            first, of = progress.concerned()
            first, of = first[here[of]], of[here[of]]
            self.decided[first], self.fired[first] = True, fired[of]

    def mask(self, wanted: Tensor, progress: Progress) -> Tensor:
        """Return `[batch, seq]` bool: where, of the wanted positions, the gate lets a step act.

        Raises:
            InterventionError: when it has not decided on a row that it is wanted for.
        """
        if self.gate.when == "token":
            if self.tokens is None or self.tokens.shape != wanted.shape:
                raise InterventionError(f"the gate at {self.gate.site} was not reached before the step it is for")
            return wanted & self.tokens.to(wanted.device)
        rows = progress.rows
        known = self.decided is not None and self.turn == progress.turn
        if not known or not bool(self.decided[rows][wanted.any(1).cpu()].all()):  # type: ignore[index]
            raise InterventionError(
                f"the gate at {self.gate.site} decides at the end of the prompt, and a step it is for came before: "
                "give every prompt whole, in one forward pass"
            )
        assert self.fired is not None
        return wanted & self.fired[rows].to(wanted.device)[:, None]
