"""The behaviours study: a vector for each behaviour, each by itself, all at once in every way, and what that costs.

The re-creation of the published experiment with its flaws mended: every coefficient on the same items with paired
differences, coefficients in one unit, points chosen on validation items and reported on test items, the same vectors
and weights at one layer beside several, interference foretold from the cosines before it is measured.

Reference: van der Weij, Poesio and Schoots (2024), arXiv 2403.05767, section 5.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.direction import Direction
from steersman.files import save_plan, write_json
from steersman.model.loaded import Model
from steersman.runs import open_run, write_results
from steersman.studies.behaviours.combining import (
    Combined,
    arrangements_of,
    common_layer,
    compositions_of,
    patterns_of,
    tried,
)
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.grid import SIGNS, UNSTEERED, Chosen, Grid, choose, layers_of, search
from steersman.studies.behaviours.items import Behaviour, behaviours_of
from steersman.studies.behaviours.measuring import Panel, letters_task, test_panel, validation_panel
from steersman.studies.behaviours.record import record_of
from steersman.studies.behaviours.testing import (
    Tested,
    combined_candidates,
    prompt_candidates,
    random_candidates,
    single_candidates,
    tested,
    unsteered,
)
from steersman.studies.behaviours.vectors import fitted_vectors
from steersman.studies.desk import Desk, Notify
from steersman.studies.provenance import provenance
from steersman.summary import Measured, summarise

RECORD = "behaviours.json"
"""Where a run folder holds the study's record."""


def run_behaviours(
    config: BehavioursConfig,
    model: Model,
    folder: Path,
    *,
    command: str = "",
    force: bool = False,
    notify: Notify = lambda _stage, _done, _total: None,
) -> Path:
    """Return the run folder, finished; a folder that was begun with the same configuration is continued.

    Args:
        config: what to do.
        model: the model it names, loaded.
        folder: where results go.
        command: how it was called, for the record.
        force: take over a folder with another configuration.
        notify: called with stage, items done and items in all.

    Raises:
        DataError: for a set that cannot be used.
        InputError: for layers that the model lacks, or items that cannot be read as asked.
        FileError: when the folder cannot be written or holds another run.
    """
    # Every set is read before anything is computed: a bad file costs the user nothing.
    behaviours = behaviours_of(config)
    choosing, reporting = validation_panel(config, behaviours), test_panel(config, behaviours)
    layers_of(config.grid.layers, model.depth)
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    store = open_run(folder, config.plain() | {"model_revision": model.revision}, force=force)
    desk = Desk(model, config, folder, store, notify)
    try:
        _known(desk, behaviours, reporting)
        with desk.timed("vectors"):
            directions = fitted_vectors(desk, behaviours)
        with desk.timed("grid"):
            grid = search(desk, behaviours, directions, choosing)
        points = {(each.name, sign): choose(grid.points, each.name, sign) for sign in SIGNS for each in behaviours}
        with desk.timed("combinations"):
            combined, notes = combinations(desk, directions, grid, points, choosing)
        with desk.timed("test"):
            found = _tested(desk, directions, points, combined, reporting)
            letters = _letters(desk, behaviours)
        save_plans(folder, found)
        record = record_of(desk, behaviours, directions, grid, points, combined, found, letters, notes, reporting)
        write_json(folder / RECORD, record)
        measured = [row for each in found for row in each.measured] + list(letters.values())
        report = summarise(measured, seed=config.seed)
        made = provenance(model, config, command, started, desk.seconds, desk.data)
        write_results(folder, report, summary=_summary(desk, points, combined, record), provenance=made)
    finally:
        store.close()
    return folder


def combinations(
    desk: Desk[BehavioursConfig],
    directions: Mapping[str, Direction],
    grid: Grid,
    points: Mapping[tuple[str, int], Chosen],
    panel: Panel,
) -> tuple[list[Combined], list[str]]:
    """Return every way to put all behaviours together at its chosen scale, and what had to be left out.

    Args:
        desk: the run at hand.
        directions: by behaviour.
        grid: single behaviours on validation items.
        points: chosen, by behaviour and sign.
        panel: the validation tasks.
    """
    config = desk.config
    found: list[Combined] = []
    notes: list[str] = []
    for pattern in patterns_of(config):
        own = {name: points[name, sign] for name, sign in pattern.signs.items()}
        wanted = config.combined.layer
        layer = common_layer(grid.points, pattern.signs) if wanted is None else layers_of([wanted], desk.model.depth)[0]
        for arrangement in arrangements_of(config):
            made = compositions_of(desk, directions, arrangement, own, layer)
            if isinstance(made, str):
                notes.append(made)
            else:
                found.append(tried(desk, arrangement, pattern, made, panel))
    return found, notes


def save_plans(folder: Path, found: Sequence[Tested]) -> None:
    """Save the plans of all combinations and single settings under `plans/`, for every command that takes one."""
    for each in found:
        if each.candidate.composition is not None:
            save_plan(
                each.candidate.settings[0].plan, folder / "plans" / f"{file_name(each.candidate.name)}", force=True
            )


def file_name(name: str) -> str:
    """Return the file name of a setting's plan."""
    words = name.replace("(+)", "more").replace("(-)", "less").replace("(", "").replace(")", "").replace(",", "")
    return f"{'-'.join(words.split())}.safetensors"


def _tested(
    desk: Desk[BehavioursConfig],
    directions: Mapping[str, Direction],
    points: Mapping[tuple[str, int], Chosen],
    combined: Sequence[Combined],
    panel: Panel,
) -> list[Tested]:
    config = desk.config
    # Of the single settings those whose sign some combination asks for: what it is compared with.
    used = {(name, sign) for pattern in patterns_of(config) for name, sign in pattern.signs.items()}
    asked = {key: point for key, point in points.items() if key in used}
    singles = single_candidates(directions, asked, config.combined.threshold)
    candidates = [
        unsteered(),
        *singles,
        *combined_candidates(combined),
        *random_candidates(config, singles, combined),
        *prompt_candidates(config, patterns_of(config)),
    ]
    return tested(desk, candidates, panel)


def _letters(desk: Desk[BehavioursConfig], behaviours: Sequence[Behaviour]) -> dict[str, Measured]:
    """Return the unsteered model's letters on test items, by behaviour."""
    tasks = [letters_task(desk.config, each.name, each.test) for each in behaviours]
    rows = desk.measured("letters, unsteered", tasks, [UNSTEERED])
    return {each.name: row for each, row in zip(behaviours, rows, strict=True)}


def _known(desk: Desk[BehavioursConfig], behaviours: Sequence[Behaviour], panel: Panel) -> None:
    for each in behaviours:
        for split in ("train", "validation", "test"):
            desk.known(f"{each.name}, {split}", each.source, getattr(each, split))
    desk.known("prose", desk.config.sets["prose"], panel.prose.items)
    if panel.knowledge:
        desk.known("knowledge", desk.config.sets["knowledge"], panel.knowledge.items)


def _summary(
    desk: Desk[BehavioursConfig],
    points: Mapping[tuple[str, int], Chosen],
    combined: Sequence[Combined],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    # What a page opens with: of all combinations the one that went furthest on validation items.
    best = max(combined, key=lambda each: (each.chosen.eligible, each.chosen.gain), default=None)
    return {
        "study": "behaviours",
        "title": f"Behaviours of {desk.model.name}, one by one and together",
        "direction": "behaviours",
        "method": "mean difference",
        "chosen": {"site": best.name, "coefficient": best.chosen.scale, "unit": "plan"} if best else None,
        "points": {
            f"{name} ({'+' if sign > 0 else '-'})": {
                "layer": each.layer,
                "coefficient": each.coefficient,
                "unit": "norm",
            }
            for (name, sign), each in points.items()
        },
        "scales": {each.name: each.chosen.scale for each in combined},
        "verdict": list(record["finding"]),
        "mode": desk.config.mode,
        "complete": True,
        "record": RECORD,
    }
