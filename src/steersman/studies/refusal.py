"""The refusal study: extract, choose on validation data, sweep on held-out data, write everything down.

The re-creation of the published safety-steering pipeline with its weaknesses mended: layers chosen by causal effect
instead of norm, coefficients in stated units, over-refusal and coherence measured, a random direction and a system
prompt beside every steered result, intervals everywhere.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from steersman.direction import Direction
from steersman.evaluation import Measured, Report, Store, measure, summarise
from steersman.files import load_direction, save_direction, write_json, write_text
from steersman.methods import MeanDifference
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import content_hash, passages, prompt_set, questions, split_pairs
from steersman.recording import record
from steersman.runs import open_run
from steersman.studies.choosing import Choice, choose_honesty, choose_refusal
from steersman.studies.config import StudyConfig
from steersman.studies.provenance import provenance
from steersman.tasks import CompletionTask, FluencyTask, HonestyTask, KnowledgeTask, Setting, Task

T = TypeVar("T")

Notify = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all."""


@dataclass
class _Desk:
    """What every stage of a run needs at hand."""

    model: Model
    config: StudyConfig
    folder: Path
    store: Store
    context: str
    notify: Notify
    seconds: dict[str, float] = field(default_factory=dict)
    hashes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - begun, 1)

    def measured(self, stage: str, tasks: Sequence[Task], settings: Sequence[Setting]) -> list[Measured]:
        total = len(settings) * sum(len(task.items) for task in tasks)
        done = 0
        results: list[Measured] = []
        self.notify(stage, done, total)
        for setting in settings:
            for task in tasks:
                outcomes = []
                for part in measure(self.model, task, setting, context=self.context, store=self.store):
                    outcomes += part
                    done += len(part)
                    self.notify(stage, done, total)
                results.append(Measured(task, setting, outcomes))
        return results

    def known(self, name: str, source: str, items: Sequence[Any]) -> None:
        self.hashes[name] = {"source": source, "sha256": content_hash(items), "n": len(items)}


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
    context = f"{model.name}|{model.revision}|{model.template}|{model.dtype}"
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    store = open_run(folder, config.plain() | {"model_revision": model.revision}, force=force)
    desk = _Desk(model, config, folder, store, context, notify)
    try:
        for task in (*tasks, honesty):
            desk.known(task.name, _source(config, task.name), task.items)
        with desk.timed("extract"):
            refusal, truth = (_extract(desk, name) for name in ("refusal", "honesty"))
        with desk.timed("choose"):
            choice = choose_refusal(desk.measured, config, refusal)
            truthful = choose_honesty(desk.measured, config, truth)
        write_json(folder / "layers.json", {"refusal": choice.profile, "honesty": truthful.profile})
        with desk.timed("sweep"):
            measured = desk.measured("sweep", tasks, sweep_settings(config, refusal, choice))
            measured += desk.measured("honesty", [honesty], honesty_settings(config, truth, truthful))
        report = summarise(measured, seed=config.seed)
        _write(desk, report, choice, truthful)
        write_json(folder / "provenance.json", provenance(model, config, command, started, desk.seconds, desk.hashes))
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
    return [
        CompletionTask("refusal", spread(prompt_set(sets["harmful"]), limits.harmful), sampling),
        CompletionTask(
            "helpfulness", spread(prompt_set(sets["ordinary"]), limits.ordinary), sampling, helpfulness=True
        ),
        CompletionTask("over-refusal", spread(prompt_set(sets["over-refusal"]), limits.over_refusal), sampling),
        KnowledgeTask(spread(questions(sets["knowledge"]), limits.knowledge)),
        FluencyTask(spread(passages(sets["prose"]), limits.prose)),
    ]


def spread(items: Sequence[T], limit: int | None) -> list[T]:
    """Return at most `limit` items at even distances, so that every category of an ordered set keeps its share."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def sweep_settings(config: StudyConfig, direction: Direction, choice: Choice) -> list[Setting]:
    """Return the arms of the sweep: unsteered, prompt, both grids, and random directions at the chosen coefficient."""
    at = direction.at(choice.layer)
    site = str(at.sites[0])
    settings = [Setting("unsteered"), Setting("prompt", system=config.prompts.refusal)]
    chosen = choice.coefficient
    for coefficient in sorted({chosen, *(round(chosen * factor, 6) for factor in config.sweep.relative)}):
        settings.append(Setting("steered", Plan(at, coefficient=coefficient), site=site, coefficient=coefficient))
    for coefficient in config.sweep.raw:
        plan = Plan(at, coefficient=coefficient, unit="raw")
        settings.append(Setting("steered", plan, site=site, coefficient=coefficient, unit="raw"))
    for seed in config.sweep.random_seeds:
        plan = Plan(at.random(config.seed * 1_000 + seed), coefficient=chosen)
        settings.append(Setting("random", plan, site=site, coefficient=chosen))
    return settings


def honesty_settings(config: StudyConfig, direction: Direction, choice: Choice) -> list[Setting]:
    """Return the arms of the honesty direction: its own layer, coefficients and system prompt."""
    at = direction.at(choice.layer)
    site = str(at.sites[0])
    settings = [Setting("unsteered"), Setting("prompt", system=config.prompts.honesty)]
    for coefficient in config.sweep.honesty:
        settings.append(Setting("steered", Plan(at, coefficient=coefficient), site=site, coefficient=coefficient))
    for seed in config.sweep.random_seeds[:1]:
        strongest = max(config.sweep.honesty, key=abs, default=0.0)
        plan = Plan(at.random(config.seed * 1_000 + seed), coefficient=strongest)
        settings.append(Setting("random", plan, site=site, coefficient=strongest))
    return settings


def _extract(desk: _Desk, name: str) -> Direction:
    part = getattr(desk.config.directions, name)
    items = split_pairs(part.pairs, "train", contrast=part.contrast)
    desk.known(f"{name}-pairs", part.pairs, items)
    path = desk.folder / "directions" / f"{name}.safetensors"
    if path.is_file():
        kept = load_direction(path)
        if kept.origin.data == content_hash(items) and kept.origin.revision == desk.model.revision:
            return kept
    total = 2 * len(items)
    done = 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        desk.notify(f"record {name}", done, total)

    acts = record(desk.model, items, span=part.span, opening_tokens=part.opening_tokens, notify=count)
    direction = MeanDifference().fit(acts)
    save_direction(direction, path, force=True, seed=desk.config.seed)
    return direction


def _source(config: StudyConfig, task: str) -> str:
    names = {"refusal": "harmful", "helpfulness": "ordinary", "fluency": "prose"}
    if task == "honesty":
        return config.directions.honesty.pairs
    return config.sets[names.get(task, task)]


def _write(desk: _Desk, report: Report, choice: Choice, truthful: Choice) -> None:
    lines = [
        json.dumps(
            {
                "task": m.task.name,
                "item": outcome.item,
                "arm": m.setting.arm,
                "site": m.setting.site,
                "coefficient": m.setting.coefficient,
                "unit": m.setting.unit,
                **outcome.details,
                **{name: value for name, value in outcome.metrics.items() if name == "completion_logprob"},
            },
            ensure_ascii=False,
        )
        for m in report.measured
        if isinstance(m.task, CompletionTask)
        for outcome in m.outcomes
    ]
    write_text(desk.folder / "completions.jsonl", "\n".join(lines) + "\n")
    write_json(desk.folder / "results.json", list(report.rows))
    write_json(desk.folder / "differences.json", list(report.differences))
    site = f"resid_post.{choice.layer}"
    summary = {
        "study": "refusal",
        "title": f"Refusal steering of {desk.model.name}",
        "direction": "refusal",
        "chosen": {"site": site, "coefficient": choice.coefficient, "unit": "norm"},
        "choice": choice.reason,
        "honesty": {"site": f"resid_post.{truthful.layer}", "choice": truthful.reason},
        "mode": desk.config.mode,
        "complete": True,
        "system_prompt": desk.config.prompts.refusal,
        "harmful_n": desk.hashes["refusal"]["n"],
        "ordinary_n": desk.hashes["helpfulness"]["n"],
    }
    write_json(desk.folder / "summary.json", summary)
