"""What was read: the activations of both sides of every pair, at every site, with where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from steersman.errors import MismatchError
from steersman.shapes import Rows
from steersman.where import Site, SpanName


@dataclass(frozen=True)
class Origin:
    """Where activations, and the directions fitted to them, come from.

    Args:
        model: name of the model.
        revision: hash of its weights.
        template: sha256 of its chat template, empty without one.
        width: model width d.
        depth: number of decoder blocks.
        span: the tokens that were averaged.
        data: sha256 of the pairs.
        n: number of pairs.
    """

    model: str
    revision: str
    template: str
    width: int
    depth: int
    span: SpanName
    data: str
    n: int


@dataclass(frozen=True)
class Activations:
    """Activations of `n` pairs at every recorded site.

    Args:
        positive: `{site: [n, d]}` float32, row i from pair i.
        negative: the same for the other side.
        norms: `{site: mean L2 norm of the residual stream}`, over all tokens of both sides but each text's first
            (which many models use as an attention sink of enormous norm).
        origin: where they come from.

    Raises:
        MismatchError: when the two sides or the sites do not fit together.
    """

    positive: Mapping[Site, Rows]
    negative: Mapping[Site, Rows]
    norms: Mapping[Site, float]
    origin: Origin

    def __post_init__(self) -> None:
        """Refuse sides that do not fit together."""
        if not (set(self.positive) == set(self.negative) == set(self.norms)):
            raise MismatchError("expected the same sites on both sides and in the norms")
        for site, rows in self.positive.items():
            if rows.shape != self.negative[site].shape:
                raise MismatchError(
                    f"expected equal shapes at {site}, got {tuple(rows.shape)} and {tuple(self.negative[site].shape)}"
                )

    @property
    def sites(self) -> list[Site]:
        """The recorded sites, in order of depth."""
        return sorted(self.positive)

    def subset(self, rows: slice) -> "Activations":
        """Return the activations of some of the pairs; norms and the data's hash stay those of all."""
        return Activations(
            {site: values[rows] for site, values in self.positive.items()},
            {site: values[rows] for site, values in self.negative.items()},
            self.norms,
            replace(self.origin, n=len(range(self.origin.n)[rows])),
        )

    def differences(self, site: Site) -> Rows:
        """Return `[n, d]` positive minus negative, pair by pair, in float64."""
        return self.positive[site].to(torch.float64) - self.negative[site].to(torch.float64)
