"""Curves: what is left of every skill as one vector's coefficient rises, on the same texts at every coefficient."""

import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
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

Measure = Callable[[Sequence[Setting]], Sequence[Measured]]
"""Measures every corpus at hand under some settings, all together, setting by setting."""

Ascent = Generator[Sequence[float], Sequence[Mapping[str, Measured]], "Curve"]
"""A line's climb: the coefficients it wants next, for every corpus's measurement at each."""


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
    lines: Sequence[Line],
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
    notify: Callable[[int], None] = lambda _: None,
) -> list[Curve]:
    """Return each line's curve over a grid of coefficients, and over as many more as it takes to pass the kept level.

    The lines know nothing of each other; they take their steps together, so that one call measures all of a step.

    Args:
        lines: what to steer with.
        measure: measures the corpora, in the order of `names`.
        names: of the corpora.
        grid: coefficients above 0, rising.
        keep: the corpus that is to be kept.
        metric: what a level is.
        retain: the kept level, a share of that at coefficient 0.
        refine: at most so many more where the curve leaps over the level.
        extend: at most so many more beyond the grid, each `STEP` times the last, while it is not reached.
        stop: leave the rest of the grid out once it is passed; else the whole grid is one step.
        seed: of the bootstrap.
        notify: called with the number of finished curves after every step.
    """
    ascents = [_ascent(line, grid, keep, metric, retain, refine, extend, stop, seed) for line in lines]
    wanted = {row: next(ascent) for row, ascent in enumerate(ascents)}
    curves: dict[int, Curve] = {}
    while wanted:
        found = iter(measure([lines[row].setting(each) for row, sizes in wanted.items() for each in sizes]))
        for row, sizes in list(wanted.items()):
            points = [dict(zip(names, islice(found, len(names)), strict=True)) for _ in sizes]
            try:
                wanted[row] = ascents[row].send(points)
            except StopIteration as end:
                curves[row] = end.value
                del wanted[row]
        notify(len(curves))
    return [curves[row] for row in range(len(lines))]


def _ascent(
    line: Line,
    grid: Sequence[float],
    keep: str,
    metric: str,
    retain: float,
    refine: int,
    extend: int,
    stop: bool,
    seed: int,
) -> Ascent:
    points: dict[float, Mapping[str, Measured]] = {}
    kept: dict[float, float] = {}

    def add(sizes: Sequence[float], found: Sequence[Mapping[str, Measured]]) -> None:
        for size, by_corpus in zip(sizes, found, strict=True):
            points[size] = by_corpus
            before = token_weighted(points[0.0][keep].outcomes, metric)
            kept[size] = token_weighted(by_corpus[keep].outcomes, metric) / before if before else 1.0

    # Nothing is known of where it will be passed: what may be left out waits for what lies before it.
    first = [0.0, *(grid[:1] if stop else grid)]
    add(first, (yield first))
    for size in grid[1:] if stop else ():
        if min(kept.values()) < retain:
            break
        add([size], (yield [size]))
    for _ in range(extend):
        if min(kept.values()) < retain:
            break
        size = round(max(points) * STEP, 4)
        add([size], (yield [size]))
    for _ in range(refine):
        ordered = sorted(points)
        passed = next((place for place, each in enumerate(ordered) if kept[each] < retain), None)
        if passed is None or kept[ordered[passed - 1]] - kept[ordered[passed]] <= LEAP:
            break
        middle = round((ordered[passed - 1] + ordered[passed]) / 2, 4)
        if middle in points:
            break
        add([middle], (yield [middle]))
    return Curve(line, keep, metric, {each: points[each] for each in sorted(points)}, seed)
