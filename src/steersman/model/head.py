"""The language-model head by itself: logits of the positions that are wanted, and of no others.

A model's own forward turns every position into a row as wide as the vocabulary, padding as well. Here the decoder runs
without its head, and the head is applied to blocks of wanted positions, one block at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steersman.model.layout import Layout, probe_device, uncompiled

BLOCK = 128
"""Positions whose logits are held at a time: 25 MB in float32 for a vocabulary of 49,152."""


@dataclass(frozen=True, eq=False)
class Head:
    """What a model makes of its decoder's last hidden states.

    Args:
        project: the module that maps them to the vocabulary.
        scale: what its results are multiplied by.
        cap: the limit that they are softly bent to, `cap * tanh(x / cap)`; 0 for none.
    """

    project: Any
    scale: float = 1.0
    cap: float = 0.0

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the `[n, vocab]` logits of `[n, d]` hidden states."""
        logits = self.project(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pass came to at its last positions: hidden states, or logits where the head does not stand by itself.

    Args:
        values: `[classes, positions, d or vocab]`, the last positions of the pass.
        head: what makes logits of them; `None` where they are logits.
    """

    values: Tensor
    head: Head | None

    def logits(self, rows: Tensor, back: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield float32 logits, block by block: which of the wanted positions, and their `[n, vocab]`.

        Args:
            rows: `[wanted]` rows of the pass.
            back: `[wanted]` places counted from the end, 1 for the last.
        """
        device = self.values.device
        chosen = self.values[rows.to(device), self.values.shape[1] - back.to(device)]
        for start in range(0, len(chosen), BLOCK):
            part = slice(start, min(start + BLOCK, len(chosen)))
            yield part, self._made(chosen[part]).float()

    def last(self, rows: Tensor) -> Tensor:
        """Return the `[n, vocab]` float32 logits at the last position of some rows of the pass."""
        return self._made(self.values[rows.to(self.values.device), -1]).float()

    def _made(self, values: Tensor) -> Tensor:
        return values if self.head is None else self.head(values)


@torch.no_grad()
def find_head(model: Any, layout: Layout, accepts: frozenset[str]) -> Head | None:
    """Return the head, verified by the logits that the model itself gives; `None` where it cannot be told apart.

    Args:
        model: the Hugging Face model.
        layout: where its decoder is.
        accepts: names of the arguments that its forward takes.
    """
    if hasattr(model, "_orig_mod"):
        return None  # what is compiled is to run compiled
    tokens = torch.tensor([[0, 1, 2, 3, 4], [3, 0, 2, 1, 5]], device=probe_device(model))
    arguments = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if "position_ids" in accepts:
        arguments["position_ids"] = torch.arange(5, device=tokens.device).expand(2, 5)
    try:
        with uncompiled():
            wanted = model(**arguments, use_cache=False).logits.float()
            hidden = layout.base(**arguments, use_cache=False).last_hidden_state
        project = model.get_output_embeddings()
        bare = project(hidden).float()
    except Exception:
        # Models fail here in ways of their own; their forward still gives logits, and `--verbose` says that it does.
        return None
    if bare.shape != wanted.shape:
        return None
    config = getattr(model, "config", None)
    caps = [float(getattr(config, "final_logit_softcapping", None) or 0.0), 0.0]
    scale = float((bare * wanted).sum() / (bare * bare).sum().clamp(min=1e-30))
    slack = max(1e-4, min(10 * torch.finfo(hidden.dtype).eps, 0.02)) * float(wanted.abs().max())
    for head in (*(Head(project, cap=cap) for cap in caps), Head(project, scale)):
        if float((head(hidden).float() - wanted).abs().max()) <= slack:
            return head
    return None
