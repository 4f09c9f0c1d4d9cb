"""The skills study: remove a broad skill by steering and keep the rest; how selective that is, against controls.

Vectors come from train texts, everything is chosen on validation texts and reported on test texts. The re-creation of
the published study with its flaws mended: the same tokens at every coefficient, massive activations shown and masked,
the permuted control at the same kept level, intervals everywhere.

Reference: van der Weij, Poesio and Schoots (2024), arXiv 2403.05767, section 3.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steersman.evaluation import Measured
from steersman.files import save_direction, write_json
from steersman.model.loaded import Model
from steersman.runs import open_run, write_results
from steersman.studies.desk import Desk, Notify
from steersman.studies.provenance import provenance
from steersman.studies.skills.choosing import Best, Choice, choose
from steersman.studies.skills.config import SkillsConfig
from steersman.studies.skills.corpora import Corpus, read_corpora
from steersman.studies.skills.curves import Curve, Line, climb
from steersman.studies.skills.record import RECORD, comparisons, findings, skills_record
from steersman.studies.skills.vectors import SkillVector, layer_sets, skill_vectors
from steersman.summary import summarise
from steersman.tasks import Setting, SkillTask


def run_skills(
    config: SkillsConfig,
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
        DataError: for a corpus that cannot be used.
        FileError: when the folder cannot be written or holds another run.
    """
    # Texts and layers are looked at before anything is computed: a bad file costs the user nothing.
    corpora = read_corpora(config)
    sets = layer_sets(config, model.depth)
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    store = open_run(folder, config.plain() | {"model_revision": model.revision}, force=force)
    desk = Desk(model, config, folder, store, notify)
    try:
        for name, corpus in corpora.items():
            for split, items in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
                desk.known(f"{name}-{split}", corpus.source, items)
        with desk.timed("extract"):
            vectors = skill_vectors(desk, corpora)
        with desk.timed("validation"):
            tried = validation_curves(desk, corpora, vectors, sets)
        choices = [choose(tried, name, config.retain) for name in config.removed]
        for choice in choices:
            direction = choice.best.curve.line.direction
            save_direction(direction, folder / "directions" / f"{choice.remove}.safetensors", force=True)
        with desk.timed("test"):
            curves = held_out_curves(desk, corpora, choices)
        with desk.timed("summarise"):
            found = comparisons(config, vectors, choices, curves)
            sentences = findings(config, vectors, choices, curves, found)
            record = skills_record(desk, corpora, vectors, tried, curves, choices, found, sentences)
            write_json(folder / RECORD, record)
            report = summarise(_measured(curves), seed=config.seed)
        facts = provenance(model, config, command, started, desk.seconds, desk.data)
        write_results(folder, report, summary=_summary(desk, choices, sentences), provenance=facts)
    finally:
        store.close()
    return folder


def validation_curves(
    desk: Desk[SkillsConfig],
    corpora: Mapping[str, Corpus],
    vectors: Sequence[SkillVector],
    sets: Sequence[tuple[int, ...]],
) -> list[Curve]:
    """Return the curve of every vector at every set of layers, on validation texts of every corpus.

    A curve ends once it has passed the kept level: what lies beyond cannot be chosen.

    Args:
        desk: the run at hand.
        corpora: by name.
        vectors: all of them.
        sets: of layers.
    """
    config = desk.config
    tasks = {name: _task(desk, corpus, "validation") for name, corpus in corpora.items()}
    total = len(vectors) * len(sets)
    curves: list[Curve] = []
    desk.notify("validation curves", 0, total)
    for each in vectors:
        # All sets of layers of a vector together: more would leave more undone when a run is cut off.
        lines = [Line(each.name, each.remove, layers, each.direction.at(*layers)) for layers in sets]

        def count(finished: int, before: int = len(curves)) -> None:
            desk.notify("validation curves", before + finished, total)

        curves += _climb(desk, lines, tasks, config.sweep.coefficients, extend=1, stop=True, notify=count)
    return curves


def held_out_curves(desk: Desk[SkillsConfig], corpora: Mapping[str, Corpus], choices: Sequence[Choice]) -> list[Curve]:
    """Return the curves of the report, on test texts of every corpus.

    For every removed skill: what was chosen; the same vector at its best layer and its best set of layers; every other
    vector of the skill at its best; and the controls of what was chosen, over the same coefficients and as many more as
    they need to fall to the kept level.

    Args:
        desk: the run at hand.
        corpora: by name.
        choices: one for each removed skill.
    """
    config = desk.config
    tasks = {name: _task(desk, corpus, "test") for name, corpus in corpora.items()}
    wanted = [pair for choice in choices for pair in held_out_lines(config, choice)]
    curves: list[Curve] = []
    for line, coefficient in wanted:
        desk.notify("test curves", len(curves), len(wanted))
        grid = sorted({round(coefficient * factor, 4) for factor in config.sweep.multiples} - {0.0})
        curves += _climb(desk, [line], tasks, grid, extend=config.sweep.extend, stop=False)
    desk.notify("test curves", len(wanted), len(wanted))
    return curves


def held_out_lines(config: SkillsConfig, choice: Choice) -> list[tuple[Line, float]]:
    """Return what is steered with on test texts for one removed skill, and the coefficient that its grid lies around.

    Args:
        config: how many controls.
        choice: on validation texts; it comes first.
    """
    best = choice.best
    steered: dict[tuple[str, tuple[int, ...]], Best] = {}
    for each in (best, choice.single, choice.several, *choice.others.values()):
        if each is not None:
            steered.setdefault((each.curve.line.vector, each.curve.line.layers), each)
    found = [(each.curve.line, each.coefficient) for each in steered.values()]
    line, seed = best.curve.line, config.seed + 1
    for number in range(config.sweep.permuted):
        control = replace(line, direction=line.direction.permuted(seed + number), arm="permuted", seed=seed + number)
        found.append((control, best.coefficient))
    for number in range(config.sweep.random):
        control = replace(line, direction=line.direction.random(seed + number), arm="random", seed=seed + number)
        found.append((control, best.coefficient))
    return found


def _climb(
    desk: Desk[SkillsConfig],
    lines: Sequence[Line],
    tasks: Mapping[str, SkillTask],
    grid: Sequence[float],
    *,
    extend: int,
    stop: bool,
    notify: Callable[[int], None] = lambda _: None,
) -> list[Curve]:
    config = desk.config
    # The bar counts curves: how many settings each will take is not known before.
    quiet = replace(desk, notify=lambda _stage, _done, _total: None)

    def measure(settings: Sequence[Setting]) -> list[Measured]:
        return quiet.measured("", list(tasks.values()), settings)

    return climb(
        lines,
        measure,
        list(tasks),
        grid,
        keep=config.keep,
        metric=config.metric,
        retain=config.retain,
        refine=config.sweep.refine,
        extend=extend,
        stop=stop,
        seed=config.seed,
        notify=notify,
    )


def _task(desk: Desk[SkillsConfig], corpus: Corpus, split: str) -> SkillTask:
    texts = desk.config.texts
    items = corpus.test if split == "test" else corpus.validation
    name = f"skill-{corpus.name}" + ("" if split == "test" else f"-{split}")
    return SkillTask(items, name, texts.tokens, texts.leave_out)


def _measured(curves: Sequence[Curve]) -> list[Measured]:
    """Return every test measurement once, unsteered ones first."""
    found: dict[tuple[Any, ...], Measured] = {}
    for curve in curves:
        for coefficient, by_corpus in curve.points.items():
            for name, each in by_corpus.items():
                setting = each.setting
                found.setdefault((coefficient != 0, setting.arm, setting.seed, setting.site, coefficient, name), each)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def _summary(desk: Desk[SkillsConfig], choices: Sequence[Choice], sentences: Sequence[str]) -> dict[str, Any]:
    config = desk.config
    chosen = [
        {
            "remove": choice.remove,
            "site": choice.best.curve.line.place,
            "vector": choice.best.curve.line.vector,
            "layers": list(choice.best.curve.line.layers),
            "coefficient": choice.best.coefficient,
            "unit": "norm",
        }
        for choice in choices
    ]
    return {
        "study": "skills",
        "title": f"Skills of {desk.model.name}: {', '.join(config.removed)} removed, {config.keep} kept",
        "direction": choices[0].best.curve.line.vector,
        "method": "mean difference",
        "chosen": chosen[0],
        "skills": chosen,
        "choice": choices[0].reason,
        "verdict": list(sentences),
        "mode": config.mode,
        "complete": True,
    }
