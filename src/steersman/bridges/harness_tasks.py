"""Tasks of lm-evaluation-harness in an evaluation of ours, with every arm, control, interval and the store.

The harness says what is asked (few-shot examples, templates, options) and how an answer is scored; `evaluate` says
under which settings, and pairs them item by item. What cannot be said item by item (a corpus's perplexity, an F1 score)
is left to the harness itself: `run_lm_eval`, or its own command line with `--model steersman`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

from steersman.bridges.harness import Instance, SteersmanLM
from steersman.bridges.harness_loading import SEEDS, averaged, harness_seeds, load_tasks
from steersman.engines import Engine
from steersman.errors import InputError
from steersman.model.loaded import Model
from steersman.tasks import Metric, Outcome, Setting
from steersman.tasks.task import key_of

RATES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
"""Metrics of the harness that are 0 or 1 for an item, where a task does not compute them its own way."""


@final
@dataclass(frozen=True)
class HarnessItem:
    """One document of a task.

    Args:
        id: its place in the task's documents, counted from 0.
        digest: sha256 of the document.
    """

    id: str
    digest: str


@final
@dataclass(frozen=True, eq=False)
class HarnessTask:
    """A task of the harness as `evaluate` takes it; `harness_tasks` makes them.

    Args:
        name: the harness's.
        items: its documents.
        task: the harness's own object, with its number of few-shot examples set.
        chat: wrap what is asked in the model's chat template.
        batch_size: rows at a time, or `auto`; changes no outcome beyond rounding.
    """

    name: str
    items: Sequence[HarnessItem]
    task: Any
    chat: bool = False
    batch_size: int | str = "auto"
    _asked: dict[tuple[str, str | None], list[list[Instance]]] = field(default_factory=dict, repr=False)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that are means over documents; behind a comma the answer filter, where a task has its own."""
        kinds: list[Metric] = []
        for chain in self.task._filters:
            for name in averaged(self.task):
                label = name if chain.name == "none" else f"{name},{chain.name}"
                kinds.append(Metric(label, self._kind(name), f"{name} of lm-evaluation-harness"))
        return tuple(kinds)

    def _kind(self, name: str) -> Literal["rate", "mean"]:
        own = callable(self.task.config.process_results)
        return "rate" if name in RATES and not own else "mean"

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item, setting and model: the task's whole configuration."""
        return key_of(
            task="harness",
            form=1,
            version=version("lm_eval"),
            chat=self.chat,
            batch_size=self.batch_size,
            seeds=SEEDS,
            config=json.dumps(self.task.dump_config(), sort_keys=True, default=_named),
        )

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:  # noqa: ARG002 (one signature for all tasks)
        """Return which of the task's metrics are not here."""
        missing = sorted(set(self.task.aggregation()) - set(averaged(self.task)))
        if not missing:
            return []
        names = ", ".join(missing)
        return [
            f"{names}: no mean over documents, so not among the rows; run the harness with --model steersman for it"
        ]

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per document of `items[start:stop]` by setting.

        The harness's own model stands under one plan: setting after setting is measured.

        Raises:
            InputError: for an engine that is no loaded model, whose tokenizer the harness's rules need.
        """
        if not isinstance(engine, Model):
            raise InputError(f"expected a loaded model for the task {self.name}, got {type(engine).__name__}")
        return [self._measured(engine, start, stop, setting) for setting in settings]

    def _measured(self, engine: Model, start: int, stop: int, setting: Setting) -> list[Outcome]:
        lm = SteersmanLM(engine, setting.plan, batch_size=self.batch_size)
        chosen = [
            [replace(each, resps=[], filtered_resps={}) for each in document]
            for document in self._requests(lm, setting.system)[start:stop]
        ]
        _answer(lm, [each for document in chosen for each in document])
        for chain in self.task._filters:
            chain.apply([each for document in chosen for each in document])
        return [self._outcome(item, document) for item, document in zip(self.items[start:stop], chosen, strict=True)]

    def _requests(self, lm: SteersmanLM, system: str | None) -> list[list[Instance]]:
        """Return what every document asks; all are built at once, since few-shot examples are drawn in turn."""
        key = (lm.steered.model.template, system)
        if key not in self._asked:
            with harness_seeds():
                self.task.set_fewshot_seed(seed=SEEDS[1])
                self.task.build_all_requests(
                    limit=len(self.items),
                    system_instruction=system,
                    apply_chat_template=self.chat,
                    fewshot_as_multiturn=self.chat,
                    chat_template=lm.apply_chat_template if self.chat else None,
                    tokenizer_name=lm.tokenizer_name if self.chat else "",
                )
            documents: dict[int, list[Instance]] = {}
            for each in self.task.instances:
                documents.setdefault(each.doc_id, []).append(each)
            self._asked[key] = [sorted(documents[number], key=lambda each: each.idx) for number in sorted(documents)]
        return self._asked[key]

    def _outcome(self, item: HarnessItem, document: Sequence[Instance]) -> Outcome:
        wanted = {metric.name for metric in self.metrics}
        found: dict[str, float] = {}
        doc = document[0].doc
        for chain in self.task._filters:
            for name, value in self.task.process_results(
                doc, [each.filtered_resps[chain.name] for each in document]
            ).items():
                label = name if chain.name == "none" else f"{name},{chain.name}"
                if label in wanted and value == value:  # NaN stands for: does not apply
                    found[label] = float(value)
        details = {
            "prompt": str(document[0].args[0]),
            "answers": [_plain(each.resps) for each in document],
            "target": _plain(self.task.doc_to_target(doc)),
        }
        return Outcome(item.id, found, details)


def harness_tasks(
    names: Sequence[str],
    *,
    shots: int | None = None,
    limit: int | None = None,
    include_path: str | Path | None = None,
    chat: bool = False,
    batch_size: int | str = "auto",
) -> list[HarnessTask]:
    """Return the named tasks of the harness, a group's tasks one by one, for `evaluate`.

    Args:
        names: of tasks, groups or tags, or paths of task files.
        shots: few-shot examples; each task's own number where not given. A task that fixes 0 keeps it, as there.
        limit: documents of each task, the first ones.
        include_path: a folder with task files of your own.
        chat: wrap what is asked in the model's chat template, few-shot examples as turns before it.
        batch_size: rows at a time, or `auto`.

    Raises:
        DataError: for a task that is unknown or whose data cannot be had.
        InputError: for a task that runs code, needs more than text, or has no metric that is a mean over documents.
    """
    tasks: list[HarnessTask] = []
    for name, task in load_tasks(names, include_path, shots)["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            what = "runs code that the model writes" if getattr(task, "UNSAFE_CODE", False) else "needs more than text"
            raise InputError(f"expected a task of text alone, got {name}, which {what}")
        if not averaged(task):
            raise InputError(
                f"expected a task with a metric that is a mean over documents, got {name} with "
                f"{', '.join(task.aggregation())}; run it as: steersman-lm-eval --model steersman --tasks {name}"
            )
        count = len(task.eval_docs) if limit is None else min(limit, len(task.eval_docs))
        if count < 1:
            raise InputError(f"expected at least one document of the task {name}, got {count}")
        items = [
            HarnessItem(str(number), hashlib.sha256(json.dumps(doc, sort_keys=True, default=str).encode()).hexdigest())
            for number, doc in zip(range(count), task.eval_docs, strict=False)
        ]
        tasks.append(HarnessTask(name, items, task, chat, batch_size))
    return tasks


def _answer(lm: SteersmanLM, requests: Sequence[Instance]) -> None:
    """Put the model's responses into requests of any kinds, each as often as its task repeats it."""
    kinds = dict.fromkeys(each.request_type for each in requests)
    for kind in kinds:
        repeated = [each for each in requests if each.request_type == kind for _ in range(each.repeats or 1)]
        for each, response in zip(repeated, getattr(lm, kind)(repeated, disable_tqdm=True), strict=True):
            each.resps.append(response)


def _named(value: Any) -> str:
    """Return a text that stands for a value in a task's configuration; of a function its name, not its address."""
    return (
        f"{value.__module__}.{value.__qualname__}" if callable(value) and hasattr(value, "__qualname__") else str(value)
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
