"""Two runs compared on the items that both measured: what the second changed, with paired intervals.

An item is the same in both where its task and id are; a setting, where its arm, seed, site, coefficient and unit are.
What only one run has is counted and left out. Differences are the second run less the first, item by item, so a change
of the items themselves between the runs would be mistaken for one of the model: the sets' hashes are compared as well.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from steersman.errors import DataError, FileError, InputError
from steersman.maths.significance import sign_flip
from steersman.maths.statistics import LEVEL, Estimate, paired_difference
from steersman.report.metrics import metric_for
from steersman.report.reading import read_run
from steersman.report.tables import setting_label
from steersman.report.values import Run, Setting
from steersman.report.words import UNSTEERED, amount, change, change_interval, plain

Key = tuple[str, str, int | None, str | None, float | None, str | None]
"""Task, arm, seed, site, coefficient and unit."""


@dataclass(frozen=True)
class Change:
    """What one metric under one setting came to in both runs, on the items that both have.

    Args:
        task: what was measured.
        metric: and which of its numbers.
        arm: under what.
        seed: of a drawn control.
        setting: site, coefficient and unit.
        before: mean over the shared items in the first run.
        after: in the second.
        difference: second less first, paired, with its 95 % bootstrap interval and n.
        moved: items whose number is not the same in both.
        p: two-sided p-value of the sign-flip test on the paired differences.
    """

    task: str
    metric: str
    arm: str
    seed: int | None
    setting: Setting
    before: float
    after: float
    difference: Estimate
    moved: int
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out zero, and the sign-flip test finds a difference as well.

        A bootstrap of a few items knows only those: the test keeps fewer than six from being called a finding.
        """
        return self.difference.sign != 0 and self.p <= 1 - LEVEL

    @property
    def label(self) -> str:
        """The setting in words."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return setting_label(self.arm, None if self.arm in UNSTEERED else self.setting) + seed


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other.

    Args:
        first: the run that differences are taken from.
        second: the run they are taken to.
        changes: one per task, metric and setting that both have.
        configuration: `name, first, second` of everything that differs in what was asked or in what it ran on.
        only_first: by task and setting, how many items only the first run has.
        only_second: the same of the second.
    """

    first: Run
    second: Run
    changes: Sequence[Change]
    configuration: Sequence[tuple[str, str, str]]
    only_first: Sequence[tuple[str, int]]
    only_second: Sequence[tuple[str, int]]

    @property
    def finding(self) -> str:
        """What the comparison says, in a sentence."""
        clear = [found for found in self.changes if found.clear]
        moved = [found for found in self.changes if found.moved]
        compared = f"{len(self.changes)} numbers compared on the same items"
        if not moved:
            return f"{compared}: not one item differs."
        if not clear:
            return f"{compared}: items differ in {len(moved)}, and none differs clearly (95 % paired intervals)."
        verb = "differs" if len(clear) == 1 else "differ"
        return (
            f"{compared}: items differ in {len(moved)}, and {len(clear)} of these {verb} clearly (95 % paired "
            f"intervals; about {max(1, round(0.05 * len(moved)))} in so many may by chance alone)."
        )


def compare_runs(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """Return how the second run differs from the first, on identical items.

    Args:
        first: a run folder with `outcomes.jsonl`.
        second: another.
        seed: of the bootstrap.

    Raises:
        FileError: for a folder that is no run's, or holds no items of its own.
        InputError: for runs without a common task, or without a common item under a common setting.
    """
    runs = read_run(Path(first)), read_run(Path(second))
    before, after = (_outcomes(run.folder / "outcomes.jsonl") for run in runs)
    tasks = [{key[0] for key in each} for each in (before, after)]
    if not tasks[0] & tasks[1]:
        raise InputError(
            f"expected two runs with a common task, got {_listed(tasks[0])} in {first} and {_listed(tasks[1])} in "
            f"{second}; nothing can be paired"
        )
    changes = [
        found for key, items in before.items() if key in after for found in _changes(key, items, after[key], seed)
    ]
    if not changes:
        raise InputError(
            f"expected items that {first} and {second} both measured under the same setting, got none; compare runs "
            "of the same sets and coefficients"
        )
    return Comparison(
        runs[0], runs[1], changes, _configuration(*runs), _missing(before, after), _missing(after, before)
    )


def comparison_table(found: Comparison, *, clear: bool = False) -> str:
    """Return a Markdown table of the changes: task and metric, setting, both values, difference, n.

    Args:
        found: the comparison.
        clear: only what differs clearly.
    """
    lines = [
        "| Metric | Setting | First | Second | Change (95 %) | n | Items that differ |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    for one in found.changes:
        if clear and not one.clear:
            continue
        metric, n = metric_for(one.task, one.metric), one.difference.n
        span = change_interval(metric, one.difference.low, one.difference.high)
        lines.append(
            f"| {metric.label} | {one.label} | {amount(metric, one.before, n)} | {amount(metric, one.after, n)} | "
            f"{change(metric, one.difference.value)} ({span}) | {n} | {one.moved} |"
        )
    return plain("\n".join(lines) + "\n")


def _changes(
    key: Key, before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]], seed: int
) -> list[Change]:
    task, arm, drawn, site, coefficient, unit = key
    shared = [item for item in before if item in after]
    names = dict.fromkeys(name for item in shared for name in before[item])
    found: list[Change] = []
    for name in names:
        pairs = [(before[i][name], after[i][name]) for i in shared if name in before[i] and name in after[i]]
        if not pairs:
            continue
        olds, news = [old for old, _ in pairs], [new for _, new in pairs]
        found.append(
            Change(
                task,
                name,
                arm,
                drawn,
                Setting(site, coefficient, unit),
                sum(olds) / len(olds),
                sum(news) / len(news),
                paired_difference(news, olds, seed),
                sum(old != new for old, new in pairs),
                sign_flip([new - old for old, new in pairs], seed),
            )
        )
    return found


def _outcomes(path: Path) -> dict[Key, dict[str, Mapping[str, float]]]:
    """Return metrics by setting and item."""
    if not path.is_file():
        raise FileError(
            f"expected a run folder with {path.name}, which holds every item's numbers, but {path} does not exist; run "
            "the same command again with this version, which keeps what is finished and writes it"
        )
    found: dict[Key, dict[str, Mapping[str, float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record: Any = json.loads(line)
            key = tuple(record[name] for name in ("task", "arm", "seed", "site", "coefficient", "unit"))
            values = {str(name): float(value) for name, value in record["metrics"].items()}
            found.setdefault(key, {})[str(record["item"])] = values
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{path}, line {number}: expected an object with task, item, arm, seed, site, coefficient, unit and "
                "metrics"
            ) from None
    return found


def _missing(here: Mapping[Key, Mapping[str, Any]], there: Mapping[Key, Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the items that the other run lacks: task and settings in words, and how many under each."""
    alike: dict[tuple[str, int], list[str]] = {}
    for key, items in here.items():
        lacking = len([item for item in items if item not in there.get(key, {})])
        if lacking:
            task, arm, seed, site, coefficient, unit = key
            words = setting_label(arm, None if arm in UNSTEERED else Setting(site, coefficient, unit))
            alike.setdefault((task, lacking), []).append(words + ("" if seed is None else f", seed {seed}"))
    return [(f"{task}, {_few(labels)}", count) for (task, count), labels in alike.items()]


def _few(labels: Sequence[str]) -> str:
    more = len(labels) - 2
    return "; ".join(labels if more < 2 else [*labels[:2], f"and under {more} more settings"])


def _configuration(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """Return what differs in `config.yaml`, and in model, versions, seeds and data of `provenance.json`."""
    found: list[tuple[str, str, str]] = []
    kept = ("model", "versions", "seeds", "data")
    for one, other in (
        (_flat(_config(first)), _flat(_config(second))),
        *((_flat({k: first.provenance.get(k)}), _flat({k: second.provenance.get(k)})) for k in kept),
    ):
        for name in dict.fromkeys([*one, *other]):
            if one.get(name) != other.get(name) and name not in {known for known, _, _ in found}:
                found.append((name, one.get(name, "absent"), other.get(name, "absent")))
    return found


def _config(run: Run) -> Any:
    try:
        return yaml.safe_load(run.config) or {}
    except yaml.YAMLError as error:
        raise FileError(f"{run.folder / 'config.yaml'} is not valid YAML: {str(error).splitlines()[0]}") from error


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return every value under its path, such as `sweep.relative`, as text."""
    if isinstance(value, Mapping) and value:
        return {
            path: text
            for key, inner in value.items()
            for path, text in _flat(inner, f"{name}.{key}" if name else str(key)).items()
        }
    return {} if value is None else {name: json.dumps(value, ensure_ascii=False, default=str)}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
