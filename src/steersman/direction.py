"""A direction: one vector per site, with its scale and where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from steersman.activations import Origin
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import length, random_like, unit
from steersman.shapes import Vector
from steersman.where import Site


@dataclass(frozen=True)
class Direction:
    """One vector per site.

    Args:
        vectors: `{site: [d]}` float32, the raw vectors (their lengths as fitted).
        norms: `{site: mean residual norm}` measured where the vector was read; what a coefficient in `norm` units is a
            fraction of.
        origin: the model and the data.
        method: how it was fitted.
        diagnostics: figures of the fit by site, such as `{"separation": {site: auroc}}`.

    Raises:
        InputError: for no vector, or one that is not finite or has no length.
        MismatchError: when widths, depths or sites do not belong together.
    """

    vectors: Mapping[Site, Vector]
    norms: Mapping[Site, float]
    origin: Origin
    method: str
    diagnostics: Mapping[str, Mapping[Site, float]] = field(default_factory=dict[str, Mapping[Site, float]])

    def __post_init__(self) -> None:
        """Refuse what cannot steer."""
        if not self.vectors:
            raise InputError("expected a direction with at least one site, got none")
        if set(self.vectors) != set(self.norms):
            raise MismatchError("expected a residual norm for every site of the direction and for no other")
        for site, vector in self.vectors.items():
            if vector.shape != (self.origin.width,):
                raise MismatchError(f"expected width {self.origin.width} at {site}, got shape {tuple(vector.shape)}")
            if site.layer >= self.origin.depth:
                raise MismatchError(f"expected a layer below {self.origin.depth}, got {site}")
            if not torch.isfinite(vector).all():
                raise InputError(f"expected finite numbers in the vector at {site}, got NaN or infinity")
            if not length(vector) > 0:
                raise InputError(f"expected a vector of positive length at {site}, got zero")
            if not 0 < self.norms[site] < float("inf"):
                raise InputError(f"expected a positive residual norm at {site}, got {self.norms[site]}")

    @property
    def sites(self) -> list[Site]:
        """The sites, in order of depth."""
        return sorted(self.vectors)

    def at(self, *where: int | Site) -> "Direction":
        """Return the direction at some of its sites; a negative layer counts from the model's end.

        Raises:
            InputError: for a layer that the model lacks or the direction does not hold.
        """
        if not where:
            raise InputError("expected at least one layer or site")
        sites = [self._site(place) for place in where]
        return replace(
            self,
            vectors={site: self.vectors[site] for site in sites},
            norms={site: self.norms[site] for site in sites},
            diagnostics={
                name: {site: values[site] for site in sites if site in values}
                for name, values in self.diagnostics.items()
            },
        )

    def moved(self, layer: int, norm: float) -> "Direction":
        """Return a one-site direction set to act at another layer than it was read at: the explicit word for it.

        Args:
            layer: 0-based decoder block to write to.
            norm: mean residual norm there, what a coefficient in `norm` units is a fraction of.

        Raises:
            InputError: when the direction has several sites.
        """
        if len(self.vectors) != 1:
            raise InputError(
                f"expected a direction with one site to move, got {len(self.vectors)}; take one with .at()"
            )
        (vector,) = self.vectors.values()
        site = Site(layer)
        return replace(
            self,
            vectors={site: vector},
            norms={site: norm},
            method=f"{self.method}, moved from {self.sites[0]}",
            diagnostics={},
        )

    def random(self, seed: int) -> "Direction":
        """Return random vectors of equal norm at the same sites: the control.

        Args:
            seed: each site draws from a generator of its own, seeded by this and the layer.
        """
        return replace(
            self,
            vectors={site: random_like(vector, seed * 1_000 + site.layer) for site, vector in self.vectors.items()},
            method=f"random of equal norm, seed {seed}",
            diagnostics={},
        )

    def units(self, site: Site) -> Vector:
        """Return the `[d]` vector of length 1 at a site."""
        return unit(self.vectors[site])

    def _site(self, place: int | Site) -> Site:
        if isinstance(place, Site):
            site = place
        else:
            depth = self.origin.depth
            if not -depth <= place < depth:
                raise InputError(f"expected a layer from {-depth} to {depth - 1}, got {place}")
            site = Site(place % depth)
        if site not in self.vectors:
            held = ", ".join(str(s.layer) for s in self.sites)
            raise InputError(
                f"expected a layer that the direction holds ({held}), got {site.layer}; record that layer first"
            )
        return site
