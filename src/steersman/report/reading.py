"""A run folder as frozen values: what is there is checked, what is missing is noted.

Only `results.json` must exist. Every other file may be absent (a run that was stopped, a study without a layer
search), and a last line of `completions.jsonl` that was cut off by a kill is dropped with a note. A file that is there
and is not what it should be is an error that names it.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.errors import FileError


@dataclass(frozen=True)
class Setting:
    """Where and how strongly: a site such as "resid_post.14", a coefficient, and its unit ("norm" or "raw")."""

    site: str | None
    coefficient: float | None
    unit: str | None

    def same(self, other: "Setting") -> bool:
        """True where both name the same site, unit and coefficient, up to float rounding."""
        if self.site != other.site or self.unit != other.unit:
            return False
        if self.coefficient is None or other.coefficient is None:
            return self.coefficient is other.coefficient
        return math.isclose(self.coefficient, other.coefficient, rel_tol=1e-9, abs_tol=1e-12)

    @property
    def layer(self) -> int | None:
        """The layer in the site's name, or None."""
        match = re.search(r"\.(\d+)$", self.site or "")
        return int(match[1]) if match else None


@dataclass(frozen=True)
class Result:
    """One measured number with its 95 % interval: rates from 0 to 1, log-probabilities and entropies in nats."""

    task: str
    metric: str
    arm: str
    site: str | None
    coefficient: float | None
    unit: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int | None

    @property
    def setting(self) -> Setting:
        """Site, coefficient and unit."""
        return Setting(self.site, self.coefficient, self.unit)


@dataclass(frozen=True)
class Layer:
    """One row of the layer search: `separation` is an AUROC, effects and `kl` are nats, norms are activation units."""

    layer: int
    depth: float | None
    vector_norm: float | None
    residual_norm: float | None
    separation: float | None
    effect_harmful: float | None
    effect_harmless: float | None
    kl: float | None
    eligible: bool
    effect: float | None = None


@dataclass(frozen=True)
class LayerSearch:
    """How a layer was chosen: the criterion in words, the choice, and what was measured at every layer."""

    direction: str
    criterion: str
    chosen: int | None
    rows: tuple[Layer, ...]
    measure: str = "refusal log-odds (nats)"


@dataclass(frozen=True)
class Completion:
    """One generated text and what the judges said of it."""

    task: str
    item: str
    prompt: str
    arm: str
    setting: Setting
    text: str
    refused: bool | None
    helpful: bool | None


@dataclass(frozen=True)
class Run:
    """Everything a report needs of a run folder.

    Attributes:
        folder: The run folder.
        results: Rows of `results.json`, in file order.
        differences: Paired differences to the unsteered arm, in the same form.
        layers: One layer search per direction.
        completions: Generated texts, in file order.
        summary: `summary.json` as it stands.
        provenance: `provenance.json` as it stands.
        config: The text of `config.yaml`.
        notes: What was missing or dropped, in sentences.
    """

    folder: Path
    results: tuple[Result, ...]
    differences: tuple[Result, ...] = ()
    layers: tuple[LayerSearch, ...] = ()
    completions: tuple[Completion, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config: str = ""
    notes: tuple[str, ...] = ()

    @property
    def chosen(self) -> Setting | None:
        """The setting the study chose, or None where it has not chosen yet."""
        record = self.summary.get("chosen")
        if not isinstance(record, Mapping) or _number(record.get("coefficient")) is None:
            return None
        return Setting(_text(record.get("site")), _number(record.get("coefficient")), _text(record.get("unit")))

    def row(self, task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
        """The result of one arm; of the steered and random arms, at `setting`."""
        return pick(self.results, task, metric, arm, setting)

    def difference(self, task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
        """The paired difference of one arm to the unsteered arm."""
        return pick(self.differences, task, metric, arm, setting)


def pick(rows: Iterable[Result], task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
    """The first row with a value for this task, metric and arm; at `setting`, where one is given."""
    for row in rows:
        asked_for = (row.task, row.metric, row.arm) == (task, metric, arm) and row.value is not None
        if asked_for and (setting is None or row.setting.same(setting)):
            return row
    return None


def read_run(folder: Path) -> Run:
    """A run folder as values.

    Args:
        folder: A folder with `results.json` and, as far as the run has come, the other files.

    Returns:
        The run; `notes` says what was missing.

    Raises:
        FileError: `results.json` is missing, or a file is not what it should be; the message names the file.
    """
    folder = Path(folder)
    path = folder / "results.json"
    if not path.is_file():
        raise FileError(
            f"Expected a run folder with results.json, but {path} does not exist; "
            "give the folder that `steersman run` wrote."
        )
    notes: list[str] = []
    summary = _record(folder / "summary.json", notes, "what was chosen and whether the run is complete is not known")
    return Run(
        folder=folder,
        results=_rows(path, _load(path)),
        differences=_optional_rows(folder / "differences.json", notes),
        layers=_layers(folder / "layers.json", notes),
        completions=_completions(folder / "completions.jsonl", notes),
        summary=summary,
        provenance=_record(folder / "provenance.json", notes, "versions, hashes and seeds are not known"),
        config=_config(folder / "config.yaml", notes),
        notes=tuple(notes),
    )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # both broken JSON and bytes that are not UTF-8
        raise FileError(f"{path} is not valid JSON ({error}); remove it and run the study again.") from error


def _present(path: Path, notes: list[str], consequence: str) -> bool:
    if path.is_file():
        return True
    notes.append(f"{path.name} is missing: {consequence}.")
    return False


def _record(path: Path, notes: list[str], consequence: str) -> Mapping[str, Any]:
    if not _present(path, notes, consequence):
        return {}
    value = _load(path)
    if not isinstance(value, dict):
        raise FileError(f"{path} should hold one JSON object, but holds a {type(value).__name__}.")
    return value


def _config(path: Path, notes: list[str]) -> str:
    if not _present(path, notes, "the exact configuration is not known"):
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read as text: {error}.") from error


def _optional_rows(path: Path, notes: list[str]) -> tuple[Result, ...]:
    present = _present(path, notes, "no paired differences to the unsteered model are shown")
    return _rows(path, _load(path)) if present else ()


def _rows(path: Path, value: Any) -> tuple[Result, ...]:
    if not isinstance(value, list):
        raise FileError(f"{path} should hold a list of results, but holds a {type(value).__name__}.")
    return tuple(_result(path, place, record) for place, record in enumerate(value))


def _result(path: Path, place: int, record: Any) -> Result:
    if not isinstance(record, dict):
        raise FileError(f"{path}, entry {place}: expected an object, but found a {type(record).__name__}.")
    missing = [key for key in ("task", "metric", "arm", "value") if key not in record]
    if missing:
        raise FileError(f"{path}, entry {place}: expected the key {missing[0]!r}, but found only {sorted(record)}.")
    for key in ("coefficient", "value", "low", "high", "n"):
        found = record.get(key)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
            raise FileError(f"{path}, entry {place}: {key!r} should be a number or null, but is {found!r}.")
    n = _number(record.get("n"))
    return Result(
        task=str(record["task"]),
        metric=str(record["metric"]),
        arm=str(record["arm"]),
        site=_text(record.get("site")),
        coefficient=_number(record.get("coefficient")),
        unit=_text(record.get("unit")),
        value=_number(record["value"]),
        low=_number(record.get("low")),
        high=_number(record.get("high")),
        n=None if n is None else int(n),
    )


def _layers(path: Path, notes: list[str]) -> tuple[LayerSearch, ...]:
    record = _record(path, notes, "there is no layer profile")
    searches: list[LayerSearch] = []
    for name, search in record.items():
        if not isinstance(search, Mapping) or not isinstance(search.get("rows"), Sequence) or not search["rows"]:
            notes.append(f"The layer search of the {name} direction holds no rows.")
            continue
        chosen = _number(search.get("chosen"))
        rows = [_layer(path, name, row) for row in search["rows"]]
        searches.append(
            LayerSearch(
                direction=str(name),
                criterion=str(search.get("criterion") or ""),
                chosen=None if chosen is None else int(chosen),
                rows=tuple(sorted(rows, key=lambda row: row.layer)),
                measure=str(search.get("measure") or "refusal log-odds (nats)"),
            )
        )
    return tuple(searches)


def _layer(path: Path, name: str, record: Any) -> Layer:
    layer = _number(record.get("layer")) if isinstance(record, Mapping) else None
    if layer is None:
        raise FileError(f"{path}: every row of {name!r} needs a 'layer' number, but one is {record!r}.")
    names = ("depth", "vector_norm", "residual_norm", "separation", "effect", "effect_harmful", "effect_harmless", "kl")
    numbers = {key: _number(record.get(key)) for key in names}
    return Layer(layer=int(layer), eligible=record.get("eligible") is not False, **numbers)


def _completions(path: Path, notes: list[str]) -> tuple[Completion, ...]:
    if not _present(path, notes, "there are no sample completions"):
        return ()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    found: list[Completion] = []
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(_completion(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if line_number == len(lines):
                notes.append(f"The last line of {path.name} was cut off and is left out.")
                break
            raise FileError(
                f"{path}, line {line_number}: expected an object with task, item, prompt, arm and completion; "
                f"{type(error).__name__}: {error}."
            ) from error
    return tuple(found)


def _completion(record: Any) -> Completion:
    refused, helpful = record.get("refused"), record.get("helpful")
    return Completion(
        task=str(record["task"]),
        item=str(record["item"]),
        prompt=str(record["prompt"]),
        arm=str(record["arm"]),
        setting=Setting(_text(record.get("site")), _number(record.get("coefficient")), _text(record.get("unit"))),
        text=str(record["completion"]),
        refused=refused if isinstance(refused, bool) else None,
        helpful=helpful if isinstance(helpful, bool) else None,
    )


def _number(value: Any) -> float | None:
    """A finite number, or None: NaN and infinity are what a failed measurement leaves, and no page can draw them."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
