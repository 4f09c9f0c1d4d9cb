"""The harness's own run and its own numbers on a steered model, also those that are no mean over documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from steersman.bridges.harness import SteersmanLM
from steersman.bridges.harness_loading import SEEDS, harness_seeds, load_tasks
from steersman.model.loaded import Model
from steersman.plan import Plan


@final
@dataclass(frozen=True)
class HarnessResult:
    """What a run of the harness came to.

    Args:
        rows: `task, metric, filter, value, error, n`: the harness's own numbers; `error` is its standard error.
        samples: by task, the harness's record of every document.
        results: all that the harness returns, its configuration included.
    """

    rows: Sequence[Mapping[str, Any]]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    results: Mapping[str, Any]


def run_lm_eval(
    model: Model,
    plan: Plan,
    tasks: Sequence[str],
    *,
    shots: int | None = None,
    limit: int | float | None = None,
    include_path: str | Path | None = None,
    system: str | None = None,
    chat: bool = False,
    batch_size: int | str = "auto",
    bootstraps: int = 1000,
) -> HarnessResult:
    """Return the harness's own results for a steered model: any of its tasks, with its own aggregation.

    Args:
        model: the model.
        plan: what is done to the activations; the empty plan leaves it unsteered.
        tasks: names of tasks, groups or tags, or paths of task files.
        shots: few-shot examples; each task's own number where not given.
        limit: documents of each task, the first ones; below 1 a share of them.
        include_path: a folder with task files of your own.
        system: system prompt.
        chat: wrap what is asked in the model's chat template, few-shot examples as turns before it.
        batch_size: rows at a time, or `auto`.
        bootstraps: of the standard errors that the harness finds by resampling.

    Raises:
        DataError: for a task that is unknown or whose data cannot be had.
        InterventionError: when the plan was never applied in a row.
    """
    lm = SteersmanLM(model, plan, batch_size=batch_size)
    loaded = load_tasks(tasks, include_path, shots)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=SEEDS[1])
    # Not `simple_evaluate`, which also writes down the machine: half a minute of commands run beside each evaluation.
    # Imported here, behind the import of our model above, which says it plainly where the harness is not installed.
    from lm_eval import evaluator

    run: Any = evaluator.evaluate  # its decorator hides its arguments
    with harness_seeds():
        results = run(
            lm=lm,
            task_dict=loaded,
            limit=limit,
            bootstrap_iters=bootstraps,
            system_instruction=system,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    results["config"] = lm.get_model_info() | {"limit": limit, "seeds": list(SEEDS), "system": system, "chat": chat}
    return HarnessResult(_rows(results), results["samples"], results)


def _rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            name, comma, chain = key.partition(",")
            if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = metrics.get(f"{name}_stderr,{chain}")
            count = results["n-samples"].get(task, {}).get("effective")
            rows.append(
                {
                    "task": task,
                    "metric": name,
                    "filter": chain,
                    "value": float(value),
                    "error": float(error) if isinstance(error, int | float) else None,
                    "n": count,
                }
            )
    return rows
