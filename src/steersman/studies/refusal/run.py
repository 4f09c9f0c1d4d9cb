"""The refusal study: extract, choose on validation data, sweep on held-out data, write everything down.

The re-creation of the published safety-steering pipeline with its weaknesses mended: layers chosen by causal effect
instead of norm, coefficients in stated units, over-refusal and coherence measured, a random direction and a system
prompt beside every steered result, intervals everywhere.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steersman.arms import Controls, comparison
from steersman.direction import Direction
from steersman.files import save_direction, write_json
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.prompts import split_pairs
from steersman.runs import open_run, write_results
from steersman.samples import example_items, prompt_items, question_items, text_items
from steersman.standing import COSTS, Aim, against_controls, against_prompt
from steersman.studies.desk import Desk, Notify
from steersman.studies.provenance import provenance
from steersman.studies.refusal.choosing import Choice, choose_honesty, choose_refusal, setting_at
from steersman.studies.refusal.config import CONTROLS, RefusalConfig
from steersman.studies.refusal.finding import learned, mean_difference, shuffled_mean_difference
from steersman.summary import Measured, summarise
from steersman.tasks import CompletionTask, FluencyTask, HonestyTask, KnowledgeTask, Setting, Task
from steersman.tasks.named import spread

SEARCHES = "selection/selection.json"
"""Where a run folder holds every coefficient that was tried, with its completions."""

SOURCES: dict[str, Callable[[RefusalConfig], str]] = {
    "refusal": lambda config: config.sets["harmful"],
    "helpfulness": lambda config: config.sets["ordinary"],
    "over-refusal": lambda config: config.sets["over-refusal"],
    "knowledge": lambda config: config.sets["knowledge"],
    "fluency": lambda config: config.sets["prose"],
    "honesty": lambda config: config.directions.honesty.pairs,
}
"""Where each task's items come from."""


def run_refusal(
    config: RefusalConfig,
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
        FileError: when the folder cannot be written or holds another run.
    """
    # Every set is read before anything is computed: a bad file costs the user nothing.
    tasks = held_out_tasks(config)
    honesty = HonestyTask(split_pairs(config.directions.honesty.pairs, "test"))
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    store = open_run(folder, config.plain() | {"model_revision": model.revision}, force=force)
    desk = Desk(model, config, folder, store, notify)
    try:
        for task in (*tasks, honesty):
            desk.known(task.name, SOURCES[task.name](config), task.items)
        with desk.timed("extract"):
            refusal = mean_difference(desk, "refusal", config.directions.refusal)
            truth = mean_difference(desk, "honesty", config.directions.honesty)
        with desk.timed("choose"):
            choice, truthful = choose_refusal(desk, refusal, tasks), choose_honesty(desk, truth, honesty)
        write_json(folder / "layers.json", {"refusal": choice.profile, "honesty": truthful.profile})
        write_json(folder / SEARCHES, {"selections": [*choice.selections, *truthful.selections]})
        for name, chosen in (("refusal", choice), ("honesty", truthful)):
            save_direction(chosen.direction, folder / "directions" / f"{name}.safetensors", force=True)
        with desk.timed("controls"):
            shuffled = shuffled_directions(desk, choice, truthful)
        with desk.timed("sweep"):
            measured = desk.measured("sweep", tasks, sweep_settings(config, choice, shuffled.get("refusal")))
            settings = honesty_settings(config, truthful, shuffled.get("honesty"))
            measured += desk.measured("honesty", [honesty], settings)
        report = summarise(measured, seed=config.seed)
        record = provenance(model, config, command, started, desk.seconds, desk.data)
        summary = _summary(desk, choice, truthful) | {"verdict": _verdict(measured, choice, config.seed)}
        write_results(folder, report, summary=summary, provenance=record)
    finally:
        store.close()
    return folder


def held_out_tasks(config: RefusalConfig) -> list[Task]:
    """Return the study's tasks on the held-out sets, cut to the configuration's limits.

    Raises:
        DataError: for a set that is missing, empty or malformed.
    """
    sets, limits = config.sets, config.limits
    sampling = Sampling(max_new_tokens=config.generation.max_new_tokens)
    ordinary = spread(prompt_items(sets["ordinary"]), limits.ordinary)
    asked = config.knowledge
    examples = example_items(sets["knowledge"]) if asked.shots else ()
    return [
        CompletionTask("refusal", spread(prompt_items(sets["harmful"]), limits.harmful), sampling),
        CompletionTask("helpfulness", ordinary, sampling, helpfulness=True),
        CompletionTask("over-refusal", spread(prompt_items(sets["over-refusal"]), limits.over_refusal), sampling),
        KnowledgeTask(
            spread(question_items(sets["knowledge"]), limits.knowledge),
            "knowledge",
            asked.form,
            tuple(asked.scoring),
            asked.shots,
            examples,
        ),
        FluencyTask(spread(text_items(sets["prose"]), limits.prose)),
    ]


def shuffled_directions(desk: Desk[RefusalConfig], choice: Choice, truthful: Choice) -> dict[str, Direction]:
    """Return the two directions as they are fitted to shuffled labels, by name; none where that control is off."""
    config = desk.config
    if "shuffled" not in config.sweep.controls:
        return {}
    parts, seed = config.directions, config.seed + 1
    found = shuffled_mean_difference(desk, "refusal", parts.refusal, seed).at(choice.layer)
    if config.learning:
        found = learned(desk, found, parts.refusal, config.learning, shuffle=seed)
    truth = shuffled_mean_difference(desk, "honesty", parts.honesty, seed).at(truthful.layer)
    return {"refusal": found, "honesty": truth}


def sweep_settings(config: RefusalConfig, choice: Choice, shuffled: Direction | None = None) -> list[Setting]:
    """Return the arms of the sweep: unsteered, both grids, and every control at the chosen coefficient.

    Args:
        config: the grids and the controls.
        choice: direction and coefficient.
        shuffled: the direction fitted to shuffled labels.
    """
    at, chosen, sweep = choice.direction, choice.coefficient, config.sweep
    grid = sorted({chosen, *(round(chosen * factor, 4) for factor in sweep.relative)})
    found = _compared(config, choice, grid, config.prompts.refusal, shuffled)
    control = at.random(config.seed + 1)
    return [
        *found,
        *(setting_at(at, coefficient, "raw") for coefficient in sweep.raw),
        *(
            replace(setting_at(control, round(chosen * factor, 4)), arm="random", seed=config.seed + 1)
            for factor in sweep.random
        ),
    ]


def honesty_settings(config: RefusalConfig, choice: Choice, shuffled: Direction | None = None) -> list[Setting]:
    """Return the arms of the honesty direction: its own layer, coefficients, system prompt and controls."""
    grid = sorted({choice.coefficient, *config.sweep.honesty})
    return _compared(config, choice, grid, config.prompts.honesty, shuffled)


def _compared(
    config: RefusalConfig, choice: Choice, grid: Sequence[float], system: str, shuffled: Direction | None
) -> list[Setting]:
    off = set(CONTROLS) - set(config.sweep.controls)
    controls = Controls(random=config.sweep.random_seeds).without(*off)
    found = comparison(
        choice.direction,
        grid,
        system=system,
        controls=controls,
        at=choice.coefficient,
        shuffled=shuffled,
        seed=config.seed,
    )
    return list(found.settings)


def _verdict(measured: Sequence[Measured], choice: Choice, seed: int) -> list[str]:
    """Return how the chosen setting stands against the prompt and against its controls, in sentences."""
    gain = Aim("refusal", "firm_refusal_rate", "higher", "harmful prompts firmly refused")
    chosen = setting_at(choice.direction, choice.coefficient)
    found = [
        against_prompt(measured, gain, COSTS, setting=chosen, seed=seed),
        against_controls(measured, gain, setting=chosen, seed=seed),
    ]
    return [each.sentence for each in found if each is not None]


def _summary(desk: Desk[RefusalConfig], choice: Choice, truthful: Choice) -> dict[str, Any]:
    return {
        "study": "refusal",
        "title": f"Refusal steering of {desk.model.name}",
        "direction": "refusal",
        "method": choice.direction.method,
        "chosen": {"site": choice.site, "coefficient": choice.coefficient, "unit": "norm"},
        "status": choice.status,
        "choice": choice.reason,
        "honesty": {
            "site": truthful.site,
            "coefficient": truthful.coefficient,
            "unit": "norm",
            "status": truthful.status,
            "choice": truthful.reason,
        },
        "mode": desk.config.mode,
        "complete": True,
        "system_prompt": desk.config.prompts.refusal,
        "harmful_n": desk.data["refusal"]["n"],
        "ordinary_n": desk.data["helpfulness"]["n"],
    }
