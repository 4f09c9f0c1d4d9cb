"""Studies as data: read from YAML, checked, with errors that name file and field."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steersman.errors import InputError


class Part(BaseModel):
    """A part of a configuration: what it does not know is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StudyConfig(Part):
    """What every study's configuration holds.

    Args:
        study: which study it is.
        model: `default`, a name on the hub, a folder or a GGUF file.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        seed: of drawn controls, of samples and of the bootstrap.
        mode: `full` where the file's section `full` was laid over it.
    """

    study: str
    model: str = "default"
    dtype: str = "auto"
    seed: int = Field(default=0, ge=0)
    mode: Literal["quick", "full"] = "quick"

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain data, in the file's words."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def replacement(cls, name: str, path: str) -> dict[str, Any]:
        """Return what `--set NAME=PATH` lays over the file.

        Raises:
            InputError: for a name that the study has no set of.
        """
        raise InputError(f"expected no set for the study, got {name}={path}")

    @classmethod
    def checked(cls, values: Mapping[str, Any], path: Path) -> Self:
        """Return the configuration of plain data.

        Raises:
            InputError: for an unknown field or a value out of range, with the file and the field.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise InputError(
                    f"{path}, {where}: expected a field that a {values['study']} study has, got another"
                ) from None
            # Our own sentences say what they got.
            words = first["msg"].removeprefix("Value error, ")
            came = "" if words != first["msg"] else f", got {repr(first.get('input'))[:60]}"
            raise InputError(f"{path}, {where}: {words}{came}") from None


def read_study(name: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the path of a built-in study or a YAML file, and what it holds.

    Args:
        name: `refusal`, or the path of a YAML file.

    Raises:
        InputError: for a file that is missing or no YAML mapping.
    """
    path = _find(name)
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a study as YAML, got a file that cannot be read as such ({reason})"
        ) from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a study as a YAML mapping, got {type(raw).__name__}")
    return path, cast(dict[str, Any], raw)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping with another laid over it, mappings within them likewise."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = laid_over(cast(dict[str, Any], old), cast(dict[str, Any], value))
        else:
            merged[key] = value
    return merged


def _find(name: str | Path) -> Path:
    folder = Path(str(resources.files("steersman"))) / "data" / "studies"
    if (built_in := folder / f"{name}.yaml").is_file():
        return built_in
    path = Path(name).expanduser()
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputError(
            f"expected a study ({names}) or the path of a YAML file, got {str(name)!r}, which does not exist"
        )
    return path
