"""Every behaviour by itself: layers times signed coefficients on validation items, and the points taken from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.direction import Direction
from steersman.maths.statistics import Estimate
from steersman.plan import Plan
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.eligibility import verdict
from steersman.studies.behaviours.items import Behaviour
from steersman.studies.behaviours.measuring import (
    Panel,
    Scores,
    collapsed,
    given,
    letters_task,
    mean_of,
    plain,
    scores_of,
    seen,
)
from steersman.studies.desk import Desk
from steersman.summary import Measured
from steersman.tasks import Setting
from steersman.where import layer_at

UNSTEERED = Setting("unsteered")
SIGNS = (1, -1)


@dataclass(frozen=True)
class Point:
    """One behaviour at one layer and coefficient, on validation items.

    Args:
        behaviour: its name.
        layer: 0-based decoder block.
        coefficient: signed, a fraction of the residual norm.
        scores: beside the unsteered model.
        drift: of plain prose, nats per token.
        eligible: whether it may be chosen.
        why: why not; empty where it may.
    """

    behaviour: str
    layer: int
    coefficient: float
    scores: Scores
    drift: Estimate
    eligible: bool
    why: str

    @property
    def sign(self) -> int:
        """1 for more of the behaviour, -1 for less."""
        return 1 if self.coefficient > 0 else -1

    @property
    def gain(self) -> float:
        """The margin's change in the direction asked for, nats."""
        return self.sign * self.scores.margin_change.value


@dataclass(frozen=True)
class Chosen:
    """A behaviour's own point of one sign.

    Args:
        behaviour: its name.
        sign: 1 for more of it, -1 for less.
        layer: 0-based decoder block.
        coefficient: signed, a fraction of the residual norm.
        eligible: whether it kept the guard.
        reason: a sentence.
    """

    behaviour: str
    sign: int
    layer: int
    coefficient: float
    eligible: bool
    reason: str


@dataclass(frozen=True)
class Grid:
    """All points, and the letters read beside some of them.

    Args:
        points: on validation items.
        letters: rows of the record.
    """

    points: tuple[Point, ...]
    letters: tuple[Mapping[str, Any], ...]


def layers_of(wanted: Sequence[int | float], depth: int) -> list[int]:
    """Return layers in order, each once; floats are shares of the depth.

    Raises:
        InputError: for a layer that the model lacks.
    """
    return sorted({layer_at(layer, depth) for layer in wanted})


def single(direction: Direction, name: str, layer: int, coefficient: float) -> Setting:
    """Return the setting of one behaviour's vector at a layer, in norm units."""
    at = direction.at(layer)
    return Setting("steered", Plan(at, coefficient=coefficient), site=f"{name}, {at.sites[0]}", coefficient=coefficient)


def search(
    desk: Desk[BehavioursConfig], behaviours: Sequence[Behaviour], directions: Mapping[str, Direction], panel: Panel
) -> Grid:
    """Return every behaviour at every layer and coefficient of the configuration, measured on validation items.

    Args:
        desk: the run at hand.
        behaviours: with their items.
        directions: their vectors, by name.
        panel: the validation tasks.
    """
    config, depth = desk.config, desk.model.depth
    layers, wanted = layers_of(config.grid.layers, depth), config.grid.letters
    read_at = layers if wanted.layers is None else layers_of(wanted.layers, depth)
    points: list[Point] = []
    letters: list[Mapping[str, Any]] = []
    for each in behaviours:
        places = [(layer, value) for layer in layers for value in config.grid.coefficients]
        settings = [single(directions[each.name], each.name, *place) for place in places]
        spelled = [place for place in places if place[0] in read_at and place[1] in wanted.coefficients]
        rows = _measured(desk, f"grid of {each.name}", panel.behaviours[each.name], settings)
        drifts = _measured(desk, f"prose under {each.name}", panel.prose, settings)
        letter = letters_task(config, each.name, each.validation)
        at = [single(directions[each.name], each.name, *place) for place in spelled]
        said = _measured(desk, f"letters of {each.name}", letter, at) if at else []
        points += _points(config, each.name, places, rows, drifts, dict(zip(spelled, said[1:], strict=True)), said[:1])
        letters += [letters_row(config, each.name, *place, row) for place, row in zip(spelled, said[1:], strict=True)]
    return Grid(tuple(points), tuple(letters))


def letters_row(
    config: BehavioursConfig, name: str, layer: int | None, coefficient: float, row: Measured
) -> dict[str, Any]:
    """Return what letters say at one setting, as the record has it."""
    return {
        "behaviour": name,
        "layer": layer,
        "coefficient": coefficient,
        "letter": plain(mean_of(row, "matching_logprob", config.seed)),
        "token": plain(mean_of(row, "matching_token", config.seed)),
        "faulty": plain(mean_of(row, "faulty_rate", config.seed)),
        "given": given(row.outcomes),
        "collapsed": collapsed(row.outcomes, config.guard.collapse),
        "collapse": row.task.remarks(row.outcomes),
    }


def choose(points: Sequence[Point], behaviour: str, sign: int) -> Chosen:
    """Return the point of the largest margin change in the direction asked for, among those that keep the guard.

    Where none keeps it, the one with the least drift is taken, and said to be.

    Args:
        points: of the grid.
        behaviour: whose.
        sign: 1 or -1.
    """
    own = [point for point in points if point.behaviour == behaviour and point.sign == sign]
    kept = [point for point in own if point.eligible]
    if kept:
        # Of equal ones the smaller push, then the lower layer.
        best = max(kept, key=lambda point: (point.gain, -abs(point.coefficient), -point.layer))
        reason = f"largest change of the margin in the direction asked for, {best.gain:+.3f} nats, of {len(kept)} of "
        reason += f"{len(own)} points that keep the guard"
        if best.gain <= 0:
            reason += "; none of them moves it that way"
    else:
        best = min(own, key=lambda point: (point.drift.value, abs(point.coefficient)))
        reason = f"none of {len(own)} points keeps the guard; the one with the least drift of plain prose is taken"
    return Chosen(behaviour, sign, best.layer, best.coefficient, bool(kept), reason)


def _points(
    config: BehavioursConfig,
    name: str,
    places: Sequence[tuple[int, float]],
    rows: Sequence[Measured],
    drifts: Sequence[Measured],
    letters: Mapping[tuple[int, float], Measured],
    letters_before: Sequence[Measured],
) -> list[Point]:
    """Return one behaviour's points, from outcomes whose first are the unsteered ones."""
    scores = scores_of([(row, rows[0]) for row in rows[1:]], config.scoring, config.seed)
    drift = [mean_of(row, "drift", config.seed) for row in drifts[1:]]
    found: list[Point] = []
    for place, row, score, prose in zip(places, rows[1:], scores, drift, strict=True):
        assert prose is not None
        read = letters.get(place)
        fine, why = True, ""
        # Each reading is held against the unsteered model's own.
        for after, then in ((row, rows[0]), (read, letters_before[0] if letters_before else None)):
            if after is not None and then is not None and fine:
                fine, why = verdict(seen(config, [after], prose), seen(config, [then]), config.guard)
        found.append(Point(name, *place, score, prose, fine, why))
    return found


def _measured(desk: Desk[BehavioursConfig], stage: str, task: Any, settings: Sequence[Setting]) -> list[Measured]:
    return desk.measured(stage, [task], [UNSTEERED, *settings])
