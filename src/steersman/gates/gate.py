"""What a gate is: a linear reading of the stream and a threshold; above it, a step acts."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final, get_args

import torch

from steersman.errors import InputError
from steersman.maths.geometry import length, lengths
from steersman.shapes import Bool, Float, Rows, Tensor, Vector
from steersman.where import Site

Measure = Literal["projection", "cosine", "probe"]
When = Literal["prompt", "token"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Gate:
    """Lets a step act only where the activations at a site read above a threshold.

    Formula, for activations h and the vector w: `projection` reads `h . w / |w|` (in the activations' own units),
    `cosine` reads `h . w / (|h| |w|)` (-1 to 1), `probe` reads `h . w + bias` (log-odds). It fires where the reading is
    above the threshold; with `below`, where it is not.

    It fails where the readings of the two kinds of text overlap; `fit_gate` says by how much. What steering at earlier
    sites does, the gate sees.

    Args:
        site: where it reads, not later than the step acts; at the step's own site it reads before the edit.
        vector: `[d]` float32.
        threshold: in the units of the reading.
        when: `prompt`, once per row, at the prompt's last token, for the whole row; `token`, at every token for itself.
        measure: `projection`, `cosine` or `probe`.
        bias: of the probe.
        below: fire where the reading is not above the threshold.

    Raises:
        InputError: for numbers that are not finite, a vector without length, or an unknown word.

    References: Lee et al. (2024), "Programming refusal with conditional activation steering" (the condition vector,
    decided on the prompt); Wang et al. (2024), "Adaptive activation steering" (by token).
    """

    site: Site
    vector: Vector
    threshold: float
    when: When = "prompt"
    measure: Measure = "projection"
    bias: float = 0.0
    below: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot decide."""
        if self.when not in get_args(When):
            raise InputError(f"expected a gate to decide at one of {', '.join(get_args(When))}, got {self.when!r}")
        if self.measure not in get_args(Measure):
            raise InputError(f"expected a measure among {', '.join(get_args(Measure))}, got {self.measure!r}")
        if not (abs(self.threshold) < float("inf") and abs(self.bias) < float("inf")):
            raise InputError(f"expected a finite threshold and bias, got {self.threshold} and {self.bias}")
        if not torch.isfinite(self.vector).all() or not length(self.vector) > 0:
            raise InputError("expected a gate's vector of finite numbers and positive length")

    def __repr__(self) -> str:
        sense = "not above" if self.below else "above"
        return f"Gate({self.measure} at {self.site}, by {self.when}, {sense} {self.threshold:.4g})"

    def read(self, activations: Rows) -> Float[Tensor, " n"]:
        """Return the readings of `[n, d]` activations, float32."""
        rows, vector = activations.float(), self.vector.to(activations.device).float()
        reading = rows @ vector
        if self.measure == "probe":
            return reading + self.bias
        reading = reading / length(vector)
        if self.measure == "cosine":
            # A row of zeros points nowhere: its cosine reads 0.
            return reading / torch.clamp(lengths(rows), min=torch.finfo(torch.float32).tiny)
        return reading

    def fires(self, activations: Rows) -> Bool[Tensor, " n"]:
        """Return for every row of `[n, d]` activations whether the gate fires."""
        return (self.read(activations) > self.threshold) != self.below

    @cached_property
    def digest(self) -> str:
        """A sha256 over all that decides; equal digests, equal decisions. 64 hex digits."""
        words = (str(self.site), self.when, self.measure, repr((self.threshold, self.bias, self.below)))
        content = hashlib.sha256("|".join(words).encode())
        content.update(self.vector.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return content.hexdigest()
