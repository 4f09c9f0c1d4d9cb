"""The refusal study: extract, choose on validation data, sweep on held-out data, write everything down.

The re-creation of the published safety-steering pipeline with its weaknesses mended: layers chosen by causal effect
instead of norm, coefficients in stated units, over-refusal and coherence measured, a random direction and a system
prompt beside every steered result, intervals everywhere.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from steersman.evaluation import Report, summarise
from steersman.files import save_direction, write_json, write_text
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import passages, prompt_set, questions, split_pairs
from steersman.runs import open_run
from steersman.studies.choosing import Choice, choose_honesty, choose_refusal, setting_at
from steersman.studies.config import StudyConfig
from steersman.studies.desk import Desk, Notify
from steersman.studies.finding import mean_difference
from steersman.studies.provenance import provenance
from steersman.tasks import CompletionTask, FluencyTask, HonestyTask, KnowledgeTask, Setting, Task

T = TypeVar("T")

SOURCES: dict[str, Callable[[StudyConfig], str]] = {
    "refusal": lambda config: config.sets["harmful"],
    "helpfulness": lambda config: config.sets["ordinary"],
    "over-refusal": lambda config: config.sets["over-refusal"],
    "knowledge": lambda config: config.sets["knowledge"],
    "fluency": lambda config: config.sets["prose"],
    "honesty": lambda config: config.directions.honesty.pairs,
}
"""Where each task's items come from."""


def run_refusal(
    config: StudyConfig,
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
            choice, truthful = choose_refusal(desk, refusal), choose_honesty(desk, truth)
        write_json(folder / "layers.json", {"refusal": choice.profile, "honesty": truthful.profile})
        for name, chosen in (("refusal", choice), ("honesty", truthful)):
            save_direction(chosen.direction, folder / "directions" / f"{name}.safetensors", force=True)
        with desk.timed("sweep"):
            measured = desk.measured("sweep", tasks, sweep_settings(config, choice))
            measured += desk.measured("honesty", [honesty], honesty_settings(config, truthful))
        _write(desk, summarise(measured, seed=config.seed), choice, truthful)
        write_json(folder / "provenance.json", provenance(model, config, command, started, desk.seconds, desk.data))
    finally:
        store.close()
    return folder


def held_out_tasks(config: StudyConfig) -> list[Task]:
    """Return the study's tasks on the held-out sets, cut to the configuration's limits.

    Raises:
        DataError: for a set that is missing, empty or malformed.
    """
    sets, limits = config.sets, config.limits
    sampling = Sampling(max_new_tokens=config.generation.max_new_tokens)
    ordinary = spread(prompt_set(sets["ordinary"]), limits.ordinary)
    return [
        CompletionTask("refusal", spread(prompt_set(sets["harmful"]), limits.harmful), sampling),
        CompletionTask("helpfulness", ordinary, sampling, helpfulness=True),
        CompletionTask("over-refusal", spread(prompt_set(sets["over-refusal"]), limits.over_refusal), sampling),
        KnowledgeTask(spread(questions(sets["knowledge"]), limits.knowledge)),
        FluencyTask(spread(passages(sets["prose"]), limits.prose)),
    ]


def spread(items: Sequence[T], limit: int | None) -> list[T]:
    """Return at most `limit` items at even distances, so that every category of an ordered set keeps its share."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def sweep_settings(config: StudyConfig, choice: Choice) -> list[Setting]:
    """Return the arms of the sweep: unsteered, prompt, both grids, and random directions at the chosen coefficient."""
    at, chosen = choice.direction, choice.coefficient
    grid = sorted({chosen, *(round(chosen * factor, 4) for factor in config.sweep.relative)})
    return [
        Setting("unsteered"),
        Setting("prompt", system=config.prompts.refusal),
        *(setting_at(at, coefficient) for coefficient in grid),
        *(setting_at(at, coefficient, "raw") for coefficient in config.sweep.raw),
        *_random(config, choice, config.sweep.random),
    ]


def honesty_settings(config: StudyConfig, choice: Choice) -> list[Setting]:
    """Return the arms of the honesty direction: its own layer, coefficients and system prompt."""
    return [
        Setting("unsteered"),
        Setting("prompt", system=config.prompts.honesty),
        *(setting_at(choice.direction, coefficient) for coefficient in config.sweep.honesty),
        *_random(config, choice, [1.0]),
    ]


def _random(config: StudyConfig, choice: Choice, factors: Sequence[float]) -> list[Setting]:
    direction = choice.direction.random(config.seed + 1)
    settings: list[Setting] = []
    for factor in factors:
        coefficient = round(choice.coefficient * factor, 4)
        plan = Plan(direction, coefficient=coefficient)
        settings.append(Setting("random", plan, site=choice.site, coefficient=coefficient))
    return settings


def _write(desk: Desk, report: Report, choice: Choice, truthful: Choice) -> None:
    lines = [
        {
            "task": m.task.name,
            "item": outcome.item,
            "arm": m.setting.arm,
            "site": m.setting.site,
            "coefficient": m.setting.coefficient,
            "unit": m.setting.unit,
            **outcome.details,
            "completion_logprob": outcome.metrics.get("completion_logprob"),
        }
        for m in report.measured
        if isinstance(m.task, CompletionTask)
        for outcome in m.outcomes
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(desk.folder / "completions.jsonl", text)
    write_json(desk.folder / "results.json", list(report.rows))
    write_json(desk.folder / "differences.json", list(report.differences))
    write_json(desk.folder / "summary.json", _summary(desk, choice, truthful))


def _summary(desk: Desk, choice: Choice, truthful: Choice) -> dict[str, Any]:
    return {
        "study": "refusal",
        "title": f"Refusal steering of {desk.model.name}",
        "direction": "refusal",
        "method": choice.direction.method,
        "chosen": {"site": choice.site, "coefficient": choice.coefficient, "unit": "norm"},
        "choice": choice.reason,
        "honesty": {
            "site": truthful.site,
            "coefficient": truthful.coefficient,
            "unit": "norm",
            "choice": truthful.reason,
        },
        "mode": desk.config.mode,
        "complete": True,
        "system_prompt": desk.config.prompts.refusal,
        "harmful_n": desk.data["refusal"]["n"],
        "ordinary_n": desk.data["helpfulness"]["n"],
    }
