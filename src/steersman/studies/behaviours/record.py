"""The study's record, `behaviours.json`: everything that its page shows, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from steersman.direction import Direction
from steersman.maths.statistics import mean_interval
from steersman.studies.behaviours.combining import Combined, curve
from steersman.studies.behaviours.config import SEVERAL, BehavioursConfig
from steersman.studies.behaviours.finding import compared_kinds, findings
from steersman.studies.behaviours.grid import Chosen, Grid, Point, layers_of, letters_row
from steersman.studies.behaviours.items import Behaviour
from steersman.studies.behaviours.measuring import SCORED, Panel, Scores, change_of, mean_of, plain, scores_of
from steersman.studies.behaviours.predictions import Prediction, agreement, interference, ratio
from steersman.studies.behaviours.testing import Tested, member_rows
from steersman.studies.behaviours.vectors import cosines, figures
from steersman.studies.desk import Desk
from steersman.summary import Measured
from steersman.where import Site

VERSION = 1


def record_of(
    desk: Desk[BehavioursConfig],
    behaviours: Sequence[Behaviour],
    directions: Mapping[str, Direction],
    grid: Grid,
    points: Mapping[tuple[str, int], Chosen],
    combined: Sequence[Combined],
    tested: Sequence[Tested],
    letters: Mapping[str, Measured],
    notes: Sequence[str],
    panel: Panel,
) -> dict[str, Any]:
    """Return the record.

    Args:
        desk: the run at hand.
        behaviours: with their items.
        directions: their vectors.
        grid: single behaviours on validation items.
        points: chosen, by behaviour and sign.
        combined: all behaviours at once on validation items.
        tested: everything that is reported, the unsteered model first.
        letters: the unsteered model's outcomes by letter on test items, by behaviour.
        notes: which combinations were left out, in sentences; remarks on the items come before them.
        panel: the test tasks.
    """
    config, layers = desk.config, layers_of(desk.config.grid.layers, desk.model.depth)
    scores = scores_by(tested, panel, config)
    rows = [_setting(config, each, scores[each.candidate.name], tested[0], panel) for each in tested]
    foretold = predictions_of(config, tested, points, panel)
    counted = [each for each in foretold if each.counts]
    told = agreement(
        [each.predicted for each in counted],
        [each.measured.value for each in counted],
        config.seed,
        "effects in combination",
    )
    crossed = crossings(config, tested, scores, directions, points)
    between = agreement(
        [each["sign"] * each["cosine"] for each in crossed],
        [each["margin_change"]["value"] for each in crossed],
        config.seed,
        "effects of one behaviour's vector on another behaviour",
    )
    kinds = compared_kinds(config, tested, panel)
    return {
        "version": VERSION,
        "model": desk.model.name,
        "layers": desk.model.depth,
        "unit": "norm",
        "scoring": config.scoring,
        "reading": config.reading,
        "guard": config.guard.model_dump(),
        "behaviours": [_behaviour(each) for each in behaviours],
        "vectors": figures(directions, config.reading, layers),
        "cosines": cosines(directions, layers),
        "baseline": [_baseline(config, each.name, scores["unsteered"], letters) for each in behaviours],
        "grid": [_point(each) for each in grid.points],
        "letters": list(grid.letters),
        "chosen": [asdict(each) for each in points.values()],
        "curves": [curve(each) for each in combined],
        "settings": rows,
        "predictions": [each.plain() for each in foretold],
        "prediction": asdict(told),
        "interference": {**asdict(between), "pairs": crossed},
        "comparisons": kinds,
        "notes": [*(remark for each in behaviours for remark in each.remarks), *notes],
        "finding": findings(config, rows, kinds, [told.sentence, between.sentence]),
    }


def scores_by(tested: Sequence[Tested], panel: Panel, config: BehavioursConfig) -> dict[str, dict[str, Scores]]:
    """Return every setting's scores on test items, by setting and behaviour, in one pass over the bootstrap."""
    keys = [(each.candidate.name, name) for each in tested for name in panel.behaviours]
    pairs = [(each.rows[task.name], tested[0].rows[task.name]) for each in tested for task in panel.behaviours.values()]
    found: dict[str, dict[str, Scores]] = {}
    for (setting, name), score in zip(keys, scores_of(pairs, config.scoring, config.seed), strict=True):
        found.setdefault(setting, {})[name] = score
    return found


def predictions_of(
    config: BehavioursConfig, tested: Sequence[Tested], points: Mapping[tuple[str, int], Chosen], panel: Panel
) -> list[Prediction]:
    """Return for every combination and behaviour what was foretold and what came, as shares of its single setting."""
    metric = SCORED[config.scoring][1]
    alone = {
        (each.candidate.composition.members[0].name, each.candidate.sign): each
        for each in tested
        if each.candidate.kind == "single" and each.candidate.composition
    }
    found: list[Prediction] = []
    for each in tested:
        if each.candidate.kind not in SEVERAL or each.candidate.composition is None:
            continue
        for member in each.candidate.composition.members:
            sign = 1 if member.asked > 0 else -1
            own = points[member.name, sign].coefficient
            task = panel.behaviours[member.name].name
            whole = _changes(alone[member.name, sign].rows[task], tested[0].rows[task], metric)
            part = _changes(each.rows[task], tested[0].rows[task], metric)
            counts = mean_interval(whole, config.seed).sign != 0
            share = ratio(part, whole, config.seed)
            found.append(Prediction(each.candidate.name, member.name, member.effect / own, share, counts))
    return found


def crossings(
    config: BehavioursConfig,
    tested: Sequence[Tested],
    scores: Mapping[str, Mapping[str, Scores]],
    directions: Mapping[str, Direction],
    points: Mapping[tuple[str, int], Chosen],
) -> list[dict[str, Any]]:
    """Return what every single setting did to every other behaviour, beside what the cosine foretold."""
    changes: dict[tuple[str, int, str], Any] = {}
    angles: dict[tuple[str, int, str], float] = {}
    for each in tested:
        if each.candidate.kind != "single" or each.candidate.composition is None:
            continue
        name, sign = each.candidate.composition.members[0].name, each.candidate.sign
        site = Site(points[name, sign].layer)
        for other in directions:
            if other != name:
                changes[name, sign, other] = scores[each.candidate.name][other].margin_change
                angles[name, sign, other] = float(directions[name].units(site) @ directions[other].units(site))
    return interference(changes, angles, config.combined.threshold)


def _changes(after: Measured, before: Measured, metric: str) -> list[float]:
    then = before.values(metric)
    return [value - then[item] for item, value in after.values(metric).items()]


def _behaviour(each: Behaviour) -> dict[str, Any]:
    return {
        "name": each.name,
        "source": each.source,
        "train": len(each.train),
        "validation": len(each.validation),
        "test": len(each.test),
        "split": each.split,
    }


def _baseline(
    config: BehavioursConfig, name: str, scores: Mapping[str, Scores], letters: Mapping[str, Measured]
) -> dict[str, Any]:
    read = letters_row(config, name, None, 0.0, letters[name])
    kept = {key: read[key] for key in ("letter", "token", "faulty", "given", "collapsed", "collapse")}
    return {"behaviour": name, "text": plain(scores[name].text), "margin": plain(scores[name].margin), **kept}


def _point(point: Point) -> dict[str, Any]:
    return {
        "behaviour": point.behaviour,
        "layer": point.layer,
        "coefficient": point.coefficient,
        "text": plain(point.scores.text),
        "margin": plain(point.scores.margin),
        "text_change": plain(point.scores.text_change),
        "margin_change": plain(point.scores.margin_change),
        "drift": plain(point.drift),
        "eligible": point.eligible,
        "why": point.why,
    }


def _setting(
    config: BehavioursConfig, each: Tested, scores: Mapping[str, Scores], before: Tested, panel: Panel
) -> dict[str, Any]:
    candidate = each.candidate
    made = candidate.composition
    drift = each.rows.get(panel.prose.name)
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "way": candidate.way,
        "weighted": candidate.weighted,
        "sign": candidate.sign,
        "scale": candidate.scale,
        "members": member_rows(candidate),
        "pairs": [dict(vars(pair)) for pair in made.pairs] if made else [],
        "warnings": made.warnings() if made else [],
        "pushes": {str(site): push for site, push in made.pushes.items()} if made else {},
        "seeds": len(candidate.settings),
        "system_prompt": candidate.settings[0].system,
        "scores": {name: {key: plain(value) for key, value in vars(score).items()} for name, score in scores.items()},
        "drift": plain(mean_of(drift, "drift", config.seed)) if drift else None,
        "tax": _tax(config, each, before, panel),
    }


def _tax(config: BehavioursConfig, each: Tested, before: Tested, panel: Panel) -> dict[str, Any] | None:
    """Return accuracy and its paired change, by the first way of scoring; every way is told by its name as well."""
    if panel.knowledge is None or panel.knowledge.name not in each.rows:
        return None
    now, then = each.rows[panel.knowledge.name], before.rows[panel.knowledge.name]
    ways = {
        way: {
            "accuracy": plain(mean_of(now, f"accuracy_{way}", config.seed)),
            "change": plain(change_of(now, then, f"accuracy_{way}", config.seed)),
        }
        for way in config.knowledge.scoring
    }
    first = config.knowledge.scoring[0]
    return {**ways[first], "n": len(now.outcomes), "scoring": first, "ways": ways}
