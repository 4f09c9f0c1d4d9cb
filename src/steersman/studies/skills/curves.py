"""Curves: what is left of every skill as one vector's coefficient rises, on the same texts at every coefficient."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from steersman.direction import Direction
from steersman.evaluation import Measured
from steersman.maths.retention import Draws, along, area, change, crossing, levels, relative
from steersman.plan import Plan
from steersman.tasks import Setting
from steersman.tasks.skill import token_weighted

Arm = Literal["steered", "permuted", "random"]

METRICS = ("top1_accuracy", "top10_accuracy", "cross_entropy")

STEP = 1.5
"""By which the coefficient grows where a curve does not reach the kept level."""

LEAP = 0.08
"""A curve that falls by more between two coefficients, passing the kept level, is measured between them too."""

Measure = Callable[[Setting], Sequence[Measured]]
"""Measures every corpus at hand under a setting."""


@dataclass(frozen=True)
class Line:
    """What is steered with, at any coefficient.

    Args:
        vector: its name.
        remove: the skill that it removes.
        layers: where, all at once.
        direction: at these layers.
        arm: `steered`, or a control.
        seed: of a control.
    """

    vector: str
    remove: str
    layers: tuple[int, ...]
    direction: Direction
    arm: Arm = "steered"
    seed: int | None = None

    @property
    def place(self) -> str:
        """Vector and layers, as tables say them."""
        return f"{self.vector} at {'+'.join(map(str, self.layers))}"

    def setting(self, coefficient: float) -> Setting:
        """Return the arm at a coefficient, in `norm` units at each layer; at 0, the unsteered one."""
        if coefficient == 0:
            return Setting("unsteered")
        plan = Plan(self.direction, span="all", coefficient=coefficient, unit="norm")
        return Setting(self.arm, plan, site=self.place, coefficient=coefficient, unit="norm", seed=self.seed)


@dataclass(frozen=True)
class Curve:
    """What a line came to.

    Args:
        line: what was steered with.
        keep: the corpus that is to be kept.
        metric: what a level is.
        points: by coefficient, rising from 0, every corpus's measurement by its name.
        seed: of the bootstrap.
    """

    line: Line
    keep: str
    metric: str
    points: Mapping[float, Mapping[str, Measured]]
    seed: int = 0
    _levels: dict[tuple[str, str], Draws] = field(default_factory=dict[tuple[str, str], Draws], repr=False)

    @property
    def coefficients(self) -> list[float]:
        """From 0 on, rising."""
        return list(self.points)

    @property
    def corpora(self) -> list[str]:
        """The corpora that were measured."""
        return list(self.points[0.0])

    def levels(self, corpus: str, metric: str) -> Draws:
        """Return a corpus's token-weighted metric at every coefficient, with the corpus's own draws of texts."""
        key = (corpus, metric)
        if key not in self._levels:
            columns = [each[corpus].outcomes for each in self.points.values()]
            values = [[o.metrics.get(metric, 0.0) for o in outcomes] for outcomes in columns]
            weights = [float(o.details["tokens"]) for o in columns[0]]
            # Of its own for each corpus, whose texts have nothing to do with another's; the same for every curve.
            self._levels[key] = levels(values, weights, seed=(self.seed + zlib.crc32(corpus.encode())) % 2**32)
        return self._levels[key]

    def relative(self, corpus: str, metric: str | None = None) -> Draws:
        """Return a corpus's level at every coefficient as a share of that at coefficient 0."""
        return relative(self.levels(corpus, metric or self.metric))

    @property
    def removed(self) -> Draws:
        """Relative levels of the removed skill: x."""
        return self.relative(self.line.remove)

    @property
    def kept(self) -> Draws:
        """Relative levels of the kept skill: y."""
        return self.relative(self.keep)

    def passing(self, retain: float) -> Draws | None:
        """Return where the kept skill falls below a share; `None` where it never does."""
        return crossing(self.kept, retain)

    def left(self, retain: float) -> Draws | None:
        """Return what is left of the removed skill where so much of the kept one is; `None` where it never falls."""
        where = self.passing(retain)
        return None if where is None else along(self.removed, where)

    def area(self, reach: float | None = None) -> Draws:
        """Return the area between the curve and the diagonal; see `maths.retention.area`."""
        return area(self.removed, self.kept, reach)

    def record(self, retain: float) -> dict[str, Any]:
        """Return the curve as plain data."""
        where = self.passing(retain)
        kept: dict[str, Any] | None = None
        if where is not None:
            kept = {
                "coefficient": float(along(self.coefficients, where).value),
                "keep": asdict(along(self.kept, where).estimate()),
                "skills": {name: asdict(along(self.relative(name), where).estimate()) for name in self.corpora},
            }
        points = [
            {"coefficient": coefficient, "skills": {name: self._skill(name, index) for name in self.corpora}}
            for index, coefficient in enumerate(self.coefficients)
        ]
        line = self.line
        return {
            "vector": line.vector,
            "remove": line.remove,
            "arm": line.arm,
            "seed": line.seed,
            "layers": list(line.layers),
            "points": points,
            "area": asdict(self.area().estimate()),
            "kept": kept,
        }

    def _skill(self, corpus: str, index: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for metric in METRICS:
            values = self.levels(corpus, metric)
            entropy = metric == "cross_entropy"
            name = "change" if entropy else "relative"
            # Of a skill that is nowhere right there is no share.
            there = entropy or values.value[0] > 0
            moved = (change if entropy else relative)(values) if there else None
            found[metric] = {
                "absolute": asdict(values[index].estimate()),
                name: None if moved is None else asdict(moved[index].estimate()),
            }
        return found


def climb(
    line: Line,
    measure: Measure,
    names: Sequence[str],
    grid: Sequence[float],
    *,
    keep: str,
    metric: str,
    retain: float,
    refine: int,
    extend: int,
    stop: bool = False,
    seed: int = 0,
) -> Curve:
    """Return a line's curve over a grid of coefficients, and over as many more as it takes to pass the kept level.

    Args:
        line: what to steer with.
        measure: measures the corpora, in the order of `names`.
        names: of the corpora.
        grid: coefficients above 0, rising.
        keep: the corpus that is to be kept.
        metric: what a level is.
        retain: the kept level, a share of that at coefficient 0.
        refine: at most so many more where the curve leaps over the level.
        extend: at most so many more beyond the grid, each `STEP` times the last, while it is not reached.
        stop: leave the rest of the grid out once it is passed.
        seed: of the bootstrap.
    """
    points: dict[float, dict[str, Measured]] = {}
    kept: dict[float, float] = {}

    def add(coefficient: float) -> None:
        found = dict(zip(names, measure(line.setting(coefficient)), strict=True))
        points[coefficient] = found
        before = token_weighted(points[0.0][keep].outcomes, metric)
        kept[coefficient] = token_weighted(found[keep].outcomes, metric) / before if before else 1.0

    add(0.0)
    for coefficient in grid:
        add(coefficient)
        if stop and kept[coefficient] < retain:
            break
    for _ in range(extend):
        if min(kept.values()) < retain:
            break
        add(round(max(points) * STEP, 4))
    for _ in range(refine):
        ordered = sorted(points)
        passed = next((place for place, each in enumerate(ordered) if kept[each] < retain), None)
        if passed is None or kept[ordered[passed - 1]] - kept[ordered[passed]] <= LEAP:
            break
        middle = round((ordered[passed - 1] + ordered[passed]) / 2, 4)
        if middle in points:
            break
        add(middle)
    return Curve(line, keep, metric, {each: points[each] for each in sorted(points)}, seed)
