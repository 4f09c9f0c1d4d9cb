"""A direction: one vector per site, with its scale and where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from steersman.activations import Origin
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import length, permuted_like, random_like, unit
from steersman.range import Range, Slider
from steersman.shapes import Vector
from steersman.where import POINTS, Point, Site, layer_at


@dataclass(frozen=True, repr=False)
class Direction:
    """One vector per site.

    Args:
        vectors: `{site: [d]}` float32, the raw vectors (their lengths as fitted).
        norms: `{site: mean residual norm}` measured where the vector was read; what a coefficient in `norm` units is a
            fraction of.
        origin: the model and the data.
        method: how it was fitted.
        diagnostics: figures of the fit by site, such as `{"separation": {site: auroc}}`.
        ranges: the coefficients that a selection found to be of use, at most one per site, sign, unit, edit, span and
            sites beside it.
            Whatever makes another vector drops them.

    Raises:
        InputError: for no vector, or one that is not finite or has no length; for a range elsewhere, or two of one
            kind.
        MismatchError: when widths, depths or sites do not belong together.
    """

    vectors: Mapping[Site, Vector]
    norms: Mapping[Site, float]
    origin: Origin
    method: str
    diagnostics: Mapping[str, Mapping[Site, float]] = field(default_factory=dict[str, Mapping[Site, float]])
    ranges: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot steer."""
        if not self.vectors:
            raise InputError("expected a direction with at least one site, got none")
        if set(self.vectors) != set(self.norms):
            raise MismatchError("expected a residual norm for every site of the direction and for no other")
        for site, vector in self.vectors.items():
            # A head's output is narrower than the stream; how wide, the model knows.
            if site.head is None and vector.shape != (self.origin.width,):
                raise MismatchError(f"expected width {self.origin.width} at {site}, got shape {tuple(vector.shape)}")
            if site.layer >= self.origin.depth:
                raise MismatchError(f"expected a layer below {self.origin.depth}, got {site}")
            if not torch.isfinite(vector).all():
                raise InputError(f"expected finite numbers in the vector at {site}, got NaN or infinity")
            if not length(vector) > 0:
                raise InputError(f"expected a vector of positive length at {site}, got zero")
            if not length(vector) < float("inf"):
                raise InputError(f"expected a vector at {site} whose length is a float32 number, got one too long")
            # Such that a float32 vector of that length, and the square of it, are numbers.
            if not 1e-15 <= self.norms[site] <= 1e15:
                raise InputError(f"expected a positive residual norm at {site}, got {self.norms[site]}")
        keys = [each.key for each in self.ranges]
        for each in self.ranges:
            if foreign := [site for site in each.sites if site not in self.vectors]:
                raise InputError(f"expected ranges at the direction's sites, got one at {foreign[0]}")
            if keys.count(each.key) > 1:
                raise InputError(f"expected one range of a kind at {each.site}, got two of sign {each.sign}")

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.sites[:4])) + (f", ... {len(self.sites)} sites" if len(self.sites) > 4 else "")
        return f"Direction({self.method}, {self.origin.model}, width {self.origin.width}, at {shown})"

    @property
    def sites(self) -> list[Site]:
        """The sites, in order of depth."""
        return sorted(self.vectors)

    def at(self, *where: int | float | Site) -> "Direction":
        """Return the direction at some of its sites.

        Args:
            where: sites, or layers: 0-based, negative ones from the model's end, a float from 0 to 1 as a share of the
                depth. A layer stands for every site that the direction holds there.

        Raises:
            InputError: for a layer that the model lacks or the direction does not hold.
        """
        if not where:
            raise InputError("expected at least one layer or site")
        sites = [site for place in where for site in self._sites(place)]
        return replace(
            self,
            vectors={site: self.vectors[site] for site in sites},
            norms={site: self.norms[site] for site in sites},
            diagnostics={
                name: {site: values[site] for site in sites if site in values}
                for name, values in self.diagnostics.items()
            },
            ranges=tuple(each for each in self.ranges if set(each.sites) <= set(sites)),
        )

    def with_ranges(self, *ranges: Range) -> "Direction":
        """Return the direction with some ranges before those it has, in place of those of the same kind.

        Where nobody says a place, commands take that of the first range that recommends something: what was found last.

        Raises:
            InputError: for a range at a site that the direction does not hold, or two of one kind.
        """
        new = {each.key for each in ranges}
        return replace(self, ranges=(*ranges, *(each for each in self.ranges if each.key not in new)))

    def range_for(
        self,
        site: Site,
        sign: int,
        unit: str = "norm",
        edit: str = "add",
        span: str = "all",
        *,
        beside: Sequence[Site] = (),
    ) -> Range | None:
        """Return the range at a site, in the unit asked for; None where none is known.

        Args:
            site: where.
            sign: 1 or -1.
            unit: `norm` or `raw`; what is known in the other one is converted.
            edit: as `plan.edit_words` says it.
            span: the tokens that are steered.
            beside: other sites that are steered at the same time.
        """
        wanted = (site, sign, edit, span, tuple(sorted(beside)))
        known = [each for each in self.ranges if (each.site, each.sign, each.edit, each.span, each.beside) == wanted]
        for each in known:
            if each.unit == unit:
                return each
        for each in known:
            if each.convertible:
                return each.converted(self.norms[site], length(self.vectors[site]))
        return None

    def moved(self, layer: int, norm: float) -> "Direction":
        """Return a one-site direction set to act at another layer than it was read at: the explicit word for it.

        Args:
            layer: 0-based decoder block to write to.
            norm: mean residual norm there, what a coefficient in `norm` units is a fraction of.

        Raises:
            InputError: when the direction has several sites.
        """
        vector, _ = self._only("move")
        site = Site(layer)
        return replace(
            self,
            vectors={site: vector},
            norms={site: norm},
            method=f"{self.method}, moved from {self.sites[0]}",
            diagnostics={},
            ranges=(),
        )

    def everywhere(self, points: Sequence[Point] = ("resid_pre", "attn_out", "mlp_out")) -> "Direction":
        """Return a one-site direction set to act at some points of every layer: for ablation everywhere.

        Args:
            points: at these points of every block; the default is where Arditi et al. (2024), section 2.4, ablate. With
                `resid_post` as well, nothing is left even in the last block's output.

        Raises:
            InputError: when the direction has several sites, or a point is `head`.
        """
        vector, norm = self._only("spread")
        if "head" in points or not points:
            raise InputError(
                f"expected points of the residual stream to spread over, got {', '.join(points) or 'none'}"
            )
        sites = [Site(layer, point) for layer in range(self.origin.depth) for point in points]
        return replace(
            self,
            vectors=dict.fromkeys(sites, vector),
            norms=dict.fromkeys(sites, norm),
            method=f"{self.method}, everywhere from {self.sites[0]}",
            diagnostics={},
            ranges=(),
        )

    def masked(self, count: int = 2, *, dimensions: Sequence[int] | None = None) -> "Direction":
        """Return the direction with some coordinates set to zero: those of massive activations.

        Args:
            count: so many of each vector's largest coordinates, at least 1 and fewer than there are.
            dimensions: 0-based coordinates, the same at every site, in place of the largest.

        Raises:
            InputError: for coordinates that are not there, or where nothing is left.
        """
        vectors: dict[Site, Vector] = {}
        for site, vector in self.vectors.items():
            width = len(vector)
            largest = [int(index) for index in vector.abs().topk(min(max(count, 1), width)).indices]
            chosen = largest if dimensions is None else list(dimensions)
            if count < 1 or not chosen or len(set(chosen)) >= width or not all(0 <= index < width for index in chosen):
                asked = f"the largest {count}" if dimensions is None else str(list(dimensions)[:10])
                raise InputError(
                    f"expected some, not all, of coordinates 0 to {width - 1} to mask, got {asked} at {site}"
                )
            vectors[site] = vector.clone()
            vectors[site][chosen] = 0.0
        words = f"largest {count}" if dimensions is None else ", ".join(map(str, dimensions))
        method = f"{self.method}, coordinates masked: {words}"
        return replace(self, vectors=vectors, method=method, diagnostics={}, ranges=())

    def random(self, seed: int) -> "Direction":
        """Return random vectors of equal norm at the same sites: the control.

        Args:
            seed: each site draws from a generator of its own, seeded by this and the site.
        """
        return replace(
            self,
            vectors={site: random_like(vector, _draw(seed, site)) for site, vector in self.vectors.items()},
            method=f"random of equal norm, seed {seed}",
            diagnostics={},
            ranges=(),
        )

    def permuted(self, seed: int) -> "Direction":
        """Return vectors with their coordinates in a random order at the same sites: a control that keeps their sizes.

        Source: van der Weij et al. (2024), section 4, who permute within a layer.

        Args:
            seed: each site draws from a generator of its own, seeded by this and the site.
        """
        return replace(
            self,
            vectors={site: permuted_like(vector, _draw(seed, site)) for site, vector in self.vectors.items()},
            method=f"coordinates permuted, seed {seed}",
            diagnostics={},
            ranges=(),
        )

    def recommendation(self, unit: str = "norm", edit: str = "add", span: str = "all") -> Range | None:
        """Return the range whose recommendation to take where nobody gave a coefficient; None where there is none.

        Of both signs the positive one is taken, which is what a direction was fitted for. At several sites it is what
        was recommended for all of them together.

        Args:
            unit: of the range.
            edit: as `plan.edit_words` says it.
            span: the tokens that are steered.
        """
        site, *beside = self.sites
        found = (self.range_for(site, sign, unit, edit, span, beside=beside) for sign in (1, -1))
        return next((each for each in found if each is not None and each.recommended is not None), None)

    def slider(self, unit: str = "norm", edit: str = "add", span: str = "all") -> Slider:
        """Return between which coefficients a slider goes, and where it starts; see `Slider.between`.

        Args:
            unit: of the coefficients.
            edit: as `plan.edit_words` says it.
            span: the tokens that are steered.

        Raises:
            InputError: when the direction has several sites.
        """
        vector, norm = self._only("draw a slider for")
        usual = Slider.usual(unit, edit, norm, length(vector))
        sides = (self.range_for(self.sites[0], sign, unit, edit, span) for sign in (1, -1))
        return Slider.between(*sides, usual=usual)

    def _only(self, verb: str) -> tuple[Vector, float]:
        if len(self.vectors) != 1:
            raise InputError(
                f"expected a direction with one site to {verb}, got {len(self.vectors)}; take one with .at()"
            )
        ((site, vector),) = self.vectors.items()
        return vector, self.norms[site]

    def units(self, site: Site) -> Vector:
        """Return the `[d]` vector of length 1 at a site."""
        return unit(self.vectors[site])

    def _sites(self, place: int | float | Site) -> list[Site]:
        if isinstance(place, Site):
            sites = [place] if place in self.vectors else []
        else:
            layer = layer_at(place, self.origin.depth)
            sites = [site for site in self.sites if site.layer == layer]
        if not sites:
            held = ", ".join(str(site.layer if site == Site(site.layer) else site) for site in self.sites)
            came = str(place)
            if not isinstance(place, Site) and (layer := layer_at(place, self.origin.depth)) != place:
                came = f"{place} (layer {layer})"
            raise InputError(f"expected a layer that the direction holds ({held}), got {came}; record that layer first")
        return sites


def _draw(seed: int, site: Site) -> int:
    """Return a seed for each site's own generator; those of the block outputs are as they were in the first version."""
    plain = seed * 1_000 + site.layer
    return (
        plain
        if site == Site(site.layer)
        else plain + 1_000_003 * (POINTS.index(site.point) + 1) + 10_007 * (site.head or 0)
    )
