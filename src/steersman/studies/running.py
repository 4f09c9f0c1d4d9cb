"""Any study by name: its configuration read, itself run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steersman.errors import InputError
from steersman.model.loaded import Model
from steersman.studies.behaviours import BehavioursConfig, run_behaviours
from steersman.studies.configuring import StudyConfig, laid_over, read_study
from steersman.studies.desk import Notify
from steersman.studies.refusal import RefusalConfig, run_refusal
from steersman.studies.skills import SkillsConfig, run_skills


class Run(Protocol):
    """Runs a study of one kind."""

    def __call__(
        self, config: Any, model: Model, folder: Path, *, command: str = "", force: bool = False, notify: Notify = ...
    ) -> Path:
        """Return the run folder, finished; a folder that was begun with the same configuration is continued."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Args:
        config: its configuration.
        run: runs it.
    """

    config: type[StudyConfig]
    run: Run


KINDS: dict[str, Kind] = {
    "behaviours": Kind(BehavioursConfig, run_behaviours),
    "refusal": Kind(RefusalConfig, run_refusal),
    "skills": Kind(SkillsConfig, run_skills),
}
"""The kinds of study, by the word in a file's field `study`."""


def read_config(
    name: str | Path,
    *,
    full: bool = False,
    overrides: Mapping[str, Any] | None = None,
    sets: Mapping[str, str] | None = None,
) -> StudyConfig:
    """Return a study's configuration: a built-in study or a YAML file, with the user's changes laid over it.

    Args:
        name: a built-in study, such as `refusal`, or the path of a YAML file of the same form.
        full: lay the file's section `full` over it.
        overrides: fields by name, dotted for inner ones, such as `{"sweep.raw": [1, 2]}`; `None` values are left out.
        sets: replacements of sets by name, as the kind of study knows them.

    Raises:
        InputError: for a missing or malformed file, an unknown kind, field or set, or a value out of range.
    """
    path, values = read_study(name)
    kind = values.get("study")
    if kind not in KINDS:
        raise InputError(f"{path}, study: expected a kind of study among {', '.join(KINDS)}, got {kind!r}")
    config = KINDS[kind].config
    more = values.pop("full", None)
    if full:
        values = laid_over(values, {**(more or {}), "mode": "full"})
    for field, value in (overrides or {}).items():
        if value is not None:
            head, _, rest = field.partition(".")
            values = laid_over(values, {head: {rest: value} if rest else value})
    for field, value in (sets or {}).items():
        values = laid_over(values, config.replacement(field, value))
    return config.checked(values, path)


def run_study(
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
        DataError: for data that cannot be used.
        FileError: when the folder cannot be written or holds another run.
    """
    return KINDS[config.study].run(config, model, folder, command=command, force=force, notify=notify)
