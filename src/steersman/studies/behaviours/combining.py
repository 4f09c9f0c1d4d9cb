"""All behaviours at once: the ways to put their vectors together, and the one global scale of each.

Scale 1 asks of every behaviour what its own single setting has. Weighted, each is asked its own chosen coefficient;
unweighted, all are asked the mean of their sizes. A mean is the sum divided by the number of behaviours, so that at one
scale it pushes as much less.

Reference: van der Weij et al. (2024), section 5: mean and sum, weighted or not, as one vector, and each vector at its
own layer with one scale for all. What they lack, the same vectors and weights at one layer, is here `one layer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steersman.composition import Composition, compose, inject
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.statistics import Estimate
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.eligibility import verdict
from steersman.studies.behaviours.grid import UNSTEERED, Chosen, Point
from steersman.studies.behaviours.measuring import Panel, Scores, change_of, mean_of, plain, scores_of, seen
from steersman.studies.desk import Desk
from steersman.summary import Measured
from steersman.tasks import Setting

Kind = Literal["combined", "simultaneous", "one layer"]


@dataclass(frozen=True)
class Pattern:
    """What is asked of every behaviour.

    Args:
        name: `+`, `-` or `mixed`.
        sign: 1 where more of all is asked, -1 where less, 0 where it is mixed.
        signs: by behaviour.
    """

    name: str
    sign: int
    signs: Mapping[str, int]


@dataclass(frozen=True)
class Arrangement:
    """One way to put the vectors together.

    Args:
        kind: one vector (`combined`), each at its own layer (`simultaneous`), or all at one (`one layer`).
        way: of one vector, as `composition.compose` names it.
        weighted: by each behaviour's own coefficient, or all alike.
    """

    kind: Kind
    way: str | None
    weighted: bool

    @property
    def name(self) -> str:
        """As in the record and its figures."""
        return f"{self.way or self.kind}, {'weighted' if self.weighted else 'unweighted'}"


@dataclass(frozen=True)
class Tried:
    """An arrangement of one pattern at one scale, on validation items.

    Args:
        composition: at that scale.
        scale: global.
        scores: by behaviour.
        drift: of plain prose, nats per token.
        tax: change of accuracy; `None` where it was not asked.
        eligible: whether it may be chosen.
        why: why not.
        gain: mean over behaviours of the margin's change in the direction asked for, nats.
    """

    composition: Composition
    scale: float
    scores: Mapping[str, Scores]
    drift: Estimate
    tax: Estimate | None
    eligible: bool
    why: str
    gain: float


@dataclass(frozen=True)
class Combined:
    """An arrangement of one pattern at the scale that was chosen.

    Args:
        arrangement: how.
        pattern: what was asked.
        tried: every scale, rising.
        chosen: one of them.
        reason: a sentence.
    """

    arrangement: Arrangement
    pattern: Pattern
    tried: tuple[Tried, ...]
    chosen: Tried
    reason: str

    @property
    def name(self) -> str:
        """As in the record and its figures."""
        return f"{self.arrangement.name} ({self.pattern.name})"

    @property
    def setting(self) -> Setting:
        """What the model is put under."""
        return setting_of(self.name, self.chosen.composition, self.chosen.scale)


def patterns_of(config: BehavioursConfig) -> list[Pattern]:
    """Return what the configuration asks of all behaviours at once."""
    names = list(config.sources)
    found = [Pattern(sign, int(f"{sign}1"), dict.fromkeys(names, int(f"{sign}1"))) for sign in config.combined.signs]
    if config.combined.mixed:
        found.append(Pattern("mixed", 0, {name: config.combined.mixed.get(name, 1) for name in names}))
    return found


def arrangements_of(config: BehavioursConfig) -> list[Arrangement]:
    """Return the ways that the configuration asks for.

    One sum at one layer is the sum in one step for each vector: where both are asked for, both are measured.
    """
    part = config.combined
    found = [Arrangement("combined", way, weighted) for way in part.ways for weighted in part.weighted]
    if part.simultaneous:
        found += [Arrangement("simultaneous", None, weighted) for weighted in part.weighted]
    if part.one_layer:
        found += [Arrangement("one layer", None, weighted) for weighted in part.weighted]
    return found


def put_together(
    directions: Mapping[str, Direction],
    arrangement: Arrangement,
    points: Mapping[str, Chosen],
    layer: int,
    scale: float,
    threshold: float,
) -> Composition:
    """Return the behaviours' vectors put together, at a scale.

    Args:
        directions: by behaviour.
        arrangement: how.
        points: each behaviour's own point of the sign that is asked of it.
        layer: of one vector, and of `one layer`.
        scale: global; 1 asks what the single settings have.
        threshold: size of a cosine from which on it is reported.

    Raises:
        InputError: for vectors that cancel, or, where they are to be orthogonal, are linearly dependent.
    """
    own = {name: points[name].coefficient for name in directions}
    usual = sum(abs(value) for value in own.values()) / len(own)
    weights = own if arrangement.weighted else {name: usual if value > 0 else -usual for name, value in own.items()}
    common: dict[str, Any] = {"scale": scale, "threshold": threshold}
    if arrangement.kind == "simultaneous":
        return inject(directions, at={name: points[name].layer for name in directions}, weights=weights, **common)
    if arrangement.kind == "one layer":
        return inject(directions, at=layer, weights=weights, **common)
    way = str(arrangement.way)
    if way == "solve":
        return compose(directions, way, at=layer, targets=weights, **common)
    if way == "mean":
        # `compose` takes a mean over the sum of weights; the mean of the weighted vectors divides by their number.
        common["scale"] = scale * sum(abs(value) for value in weights.values()) / len(weights)
    return compose(directions, way, at=layer, weights=weights, **common)


def common_layer(points: Sequence[Point], signs: Mapping[str, int]) -> int:
    """Return the layer at which all behaviours together go furthest by themselves, each at its best coefficient.

    Args:
        points: of the grid.
        signs: what is asked, by behaviour.
    """

    def reach(layer: int) -> float:
        best = [
            [p.gain for p in points if (p.behaviour, p.layer, p.sign) == (name, layer, sign) and p.eligible]
            for name, sign in signs.items()
        ]
        return sum(max(gains, default=0.0) for gains in best)

    # Of equal ones the first.
    return max(sorted({point.layer for point in points}), key=reach)


def setting_of(name: str, composition: Composition, scale: float) -> Setting:
    """Return the setting of a composition, labelled by its name and scale."""
    return Setting("steered", composition.plan, site=name, coefficient=scale, unit="plan")


def tried(
    desk: Desk[BehavioursConfig],
    arrangement: Arrangement,
    pattern: Pattern,
    compositions: Mapping[float, Composition],
    panel: Panel,
) -> Combined:
    """Return an arrangement at every scale on validation items, and the scale that is taken.

    The largest mean change of the margins in the direction asked for, among the scales that keep the guard; where none
    keeps it, the smallest.

    Args:
        desk: the run at hand.
        arrangement: how the vectors are put together.
        pattern: what is asked.
        compositions: by scale.
        panel: the validation tasks.
    """
    name = f"{arrangement.name} ({pattern.name})"
    settings = [UNSTEERED, *(setting_of(name, each, scale) for scale, each in compositions.items())]
    measured = desk.measured(f"scales of {name}", panel.tasks, settings)
    size = len(panel.tasks)
    before = measured[:size]
    found = [
        _one(desk.config, pattern, scale, each, panel, measured[size * (i + 1) : size * (i + 2)], before)
        for i, (scale, each) in enumerate(compositions.items())
    ]
    kept = [each for each in found if each.eligible]
    if kept:
        best = max(kept, key=lambda each: (each.gain, -each.scale))
        reason = (
            f"largest mean change of the margins in the direction asked for, {best.gain:+.3f} nats, of {len(kept)} of "
            f"{len(found)} scales that keep the guard"
        )
    else:
        best = min(found, key=lambda each: each.scale)
        reason = f"none of {len(found)} scales keeps the guard; the smallest is taken"
    return Combined(arrangement, pattern, tuple(found), best, reason)


def curve(combined: Combined) -> dict[str, Any]:
    """Return the curve over the global scale, as the record has it."""
    return {
        "setting": combined.name,
        "kind": combined.arrangement.kind,
        "way": combined.arrangement.way,
        "weighted": combined.arrangement.weighted,
        "sign": combined.pattern.sign,
        "chosen": combined.chosen.scale,
        "reason": combined.reason,
        "points": [
            {
                "scale": each.scale,
                "margin_change": {name: plain(score.margin_change) for name, score in each.scores.items()},
                "text_change": {name: plain(score.text_change) for name, score in each.scores.items()},
                "tax": plain(each.tax),
                "drift": plain(each.drift),
                "gain": each.gain,
                "eligible": each.eligible,
                "why": each.why,
            }
            for each in combined.tried
        ],
    }


def compositions_of(
    desk: Desk[BehavioursConfig],
    directions: Mapping[str, Direction],
    arrangement: Arrangement,
    points: Mapping[str, Chosen],
    layer: int,
) -> dict[float, Composition] | str:
    """Return an arrangement at every scale of the configuration, or why the vectors cannot be put together so."""
    part = desk.config.combined
    try:
        return {
            scale: put_together(directions, arrangement, points, layer, scale, part.threshold) for scale in part.scales
        }
    except InputError as error:
        return f"{arrangement.name} is left out: {error}"


def _one(
    config: BehavioursConfig,
    pattern: Pattern,
    scale: float,
    composition: Composition,
    panel: Panel,
    after: Sequence[Measured],
    before: Sequence[Measured],
) -> Tried:
    names = list(panel.behaviours)
    count = len(names)
    pairs = list(zip(after, before, strict=True))
    scores = dict(zip(names, scores_of(pairs[:count], config.scoring, config.seed), strict=True))
    drift = mean_of(after[count], "drift", config.seed)
    assert drift is not None
    fine, why = True, ""
    for name, (now, then) in zip(names, pairs, strict=False):
        own, reason = verdict(seen(config, [now]), seen(config, [then]), config.guard)
        if not own:
            fine, why = False, f"{why + '; ' if why else ''}{name}: {reason}"
    whole, reason = verdict(seen(config, [], drift), seen(config, []), config.guard)
    if not whole:
        fine, why = False, f"{reason}{'; ' + why if why else ''}"
    tax = None
    if panel.knowledge:
        metric = panel.knowledge.metrics[0].name
        tax = change_of(after[count + 1], before[count + 1], metric, config.seed)
    gain = sum(pattern.signs[name] * score.margin_change.value for name, score in scores.items()) / count
    return Tried(composition, scale, scores, drift, tax, fine, why, gain)
