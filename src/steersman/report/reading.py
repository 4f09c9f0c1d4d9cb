"""A run folder as frozen values: what is there is checked, what is missing is noted.

Only `results.json` must exist. Every other file may be absent (a run that was stopped, a study without a layer
search), and a last line of `completions.jsonl` that was cut off by a kill is dropped with a note. A file that is there
and is not what it should be is an error that names it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steersman.errors import FileError, InputError
from steersman.report.metrics import metric_for
from steersman.report.selection_record import parts_of
from steersman.report.values import Completion, Layer, LayerSearch, Remark, Result, Run, Setting, finite, named

SEARCHES = "selection"
"""The folder within a run folder that holds a study's selection."""


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
            "give the folder that `steersman run` or `steersman evaluate --out` wrote."
        )
    notes: list[str] = []
    summary = _record(folder / "summary.json", notes, "what was chosen and whether the run is complete is not known")
    return Run(
        folder=folder,
        results=tuple(_possible(row) for row in _rows(path, _load(path))),
        differences=_optional_rows(folder / "differences.json", notes),
        layers=_layers(folder / "layers.json", notes, study=summary.get("study") == "refusal" or not summary),
        completions=_completions(folder / "completions.jsonl", notes),
        summary=summary,
        provenance=_record(folder / "provenance.json", notes, "versions, hashes and seeds are not known"),
        config=_config(folder / "config.yaml", notes),
        notes=tuple(notes),
        groups=_groups(folder / "groups.json"),
        remarks=_remarks(folder / "remarks.json"),
        agreement=tuple(_list(folder / "agreement.json")),
    )


def read_searches(folder: Path) -> Mapping[str, Any]:
    """Every coefficient that a study's selection tried, as it wrote them down; nothing where it has not.

    Args:
        folder: The run folder.

    Raises:
        FileError: The file is there and is not what it should be.
    """
    path = Path(folder) / SEARCHES / "selection.json"
    record = _record(path, [], "")
    try:
        if record:
            parts_of(record)
    except (InputError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{path} should hold what a study's selection tried, but cannot be read as that "
            f"({type(error).__name__}: {error}); remove it and run the study again."
        ) from error
    return record


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


def _list(path: Path) -> list[Mapping[str, Any]]:
    """The objects in a file that older runs do not have."""
    value = _load(path) if path.is_file() else []
    if not isinstance(value, list) or not all(isinstance(record, Mapping) for record in value):
        raise FileError(f"{path} should hold a list of objects; remove it and run the study again.")
    return value


def _groups(path: Path) -> tuple[tuple[str, Result], ...]:
    records = _list(path)
    return tuple((str(record.get("group")), _result(path, place, record)) for place, record in enumerate(records))


def _remarks(path: Path) -> tuple[Remark, ...]:
    return tuple(
        Remark(str(record.get("task")), str(record.get("arm")), _setting(record), str(record.get("remark")))
        for record in _list(path)
    )


def _setting(record: Mapping[str, Any]) -> Setting:
    return Setting(named(record.get("site")), finite(record.get("coefficient")), named(record.get("unit")))


def _possible(row: Result) -> Result:
    """The row with an interval that ends where a share does: no mean of shares lies below 0 % or above 100 %."""
    if not metric_for(row.task, row.metric).percent or row.low is None or row.high is None:
        return row
    if not 0 <= (row.value or 0.0) <= 1:
        return row  # no share, whatever it is called
    return replace(row, low=max(row.low, 0.0), high=min(row.high, 1.0))


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
    n = finite(record.get("n"))
    return Result(
        task=str(record["task"]),
        metric=str(record["metric"]),
        arm=str(record["arm"]),
        site=named(record.get("site")),
        coefficient=finite(record.get("coefficient")),
        unit=named(record.get("unit")),
        value=finite(record["value"]),
        low=finite(record.get("low")),
        high=finite(record.get("high")),
        n=None if n is None else int(n),
        seed=_whole(record.get("seed")),
        p=finite(record.get("p")),
        p_adjusted=finite(record.get("p_adjusted")),
        low_adjusted=finite(record.get("low_adjusted")),
        high_adjusted=finite(record.get("high_adjusted")),
    )


def _layers(path: Path, notes: list[str], *, study: bool) -> tuple[LayerSearch, ...]:
    if not study and not path.is_file():
        return ()  # a free evaluation searches no layer
    record = _record(path, notes, "there is no layer profile")
    searches: list[LayerSearch] = []
    for name, search in record.items():
        if not isinstance(search, Mapping) or not isinstance(search.get("rows"), Sequence) or not search["rows"]:
            notes.append(f"The layer search of the {name} direction holds no rows.")
            continue
        chosen = finite(search.get("chosen"))
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
    layer = finite(record.get("layer")) if isinstance(record, Mapping) else None
    if layer is None:
        raise FileError(f"{path}: every row of {name!r} needs a 'layer' number, but one is {record!r}.")
    names = ("depth", "vector_norm", "residual_norm", "separation", "effect", "effect_harmful", "effect_harmless", "kl")
    numbers = {key: finite(record.get(key)) for key in names}
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
        setting=_setting(record),
        text=str(record["completion"]),
        refused=refused if isinstance(refused, bool) else None,
        helpful=helpful if isinstance(helpful, bool) else None,
        seed=_whole(record.get("seed")),
    )


def _whole(value: Any) -> int | None:
    found = finite(value)
    return None if found is None else int(found)
