"""A study's configuration: read from YAML, checked, with errors that name file and field."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from steersman.errors import InputError
from steersman.prompts import Contrast
from steersman.selection.budget import EXAMPLE, Budget
from steersman.selection.rules import rule_named
from steersman.where import Span

CONTROLS = ("random", "permuted", "negated", "shuffled", "prompt", "prompt+steered")
SETS = ("harmful", "ordinary", "over-refusal", "knowledge", "prose")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DirectionConfig(_Part):
    """How a direction is fitted."""

    pairs: str
    contrast: Contrast = "completion"
    span: str = "completion"
    opening_tokens: int | None = Field(default=None, ge=1)

    @field_validator("span")
    @classmethod
    def _known_span(cls, value: str) -> str:
        return str(Span.parse(value))


class SelectionConfig(_Part):
    """How layer and coefficient are chosen; see `steersman.selecting.select`."""

    depth: tuple[float, float] = (0.2, 0.8)
    stride: int = Field(default=1, ge=1)
    coefficient: float = Field(default=0.3, gt=0)
    prompts: int = Field(default=20, ge=1)
    shortlist: int = Field(default=3, ge=1)
    rule: str = "coherence"
    budget: str = "over-refusal=0.1"
    honesty_budget: str = "kl=0.5"

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        return rule_named(value).name

    @field_validator("budget", "honesty_budget", mode="before")
    @classmethod
    def _budget(cls, value: Any) -> str:
        if not isinstance(value, str):
            raise InputError(f"expected a budget such as {EXAMPLE}, got {value!r}")
        return str(Budget.parse(value))


class LearningConfig(_Part):
    """How the direction is learned from the mean difference; see `steersman.learning.Optimiser`."""

    steps: int = Field(default=70, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    keep: float = Field(default=2.0, ge=0)
    limit: float = Field(default=0.5, gt=0)
    tokens: int = Field(default=12, ge=1)


class SweepConfig(_Part):
    """What is measured on the held-out sets."""

    relative: list[float] = []
    raw: list[float] = []
    honesty: list[float] = []
    random: list[float] = []
    controls: list[str] = list(CONTROLS)
    random_seeds: int = Field(default=3, ge=1)

    @field_validator("controls")
    @classmethod
    def _known_controls(cls, values: list[str]) -> list[str]:
        if unknown := set(values) - set(CONTROLS):
            raise ValueError(f"expected controls among {', '.join(CONTROLS)}, got {', '.join(sorted(unknown))}")
        return values

    @field_validator("relative", "raw", "honesty", "random")
    @classmethod
    def _no_zero(cls, values: list[float]) -> list[float]:
        # Coefficient 0 is the unsteered arm, always measured.
        return sorted({value for value in values if value != 0})


class KnowledgeConfig(_Part):
    """How knowledge is asked; see `steersman.tasks.KnowledgeTask`."""

    form: Literal["chat", "plain"] = "chat"
    scoring: list[Literal["letter", "text"]] = ["letter", "text"]
    shots: int = Field(default=0, ge=0, le=5)


class GenerationConfig(_Part):
    """How completions are made; greedy."""

    max_new_tokens: int = Field(default=32, ge=1)


class LimitsConfig(_Part):
    """Items of each set; all where null."""

    harmful: int | None = Field(default=None, ge=1)
    ordinary: int | None = Field(default=None, ge=1)
    over_refusal: int | None = Field(default=None, ge=1, alias="over-refusal")
    knowledge: int | None = Field(default=None, ge=1)
    prose: int | None = Field(default=None, ge=1)
    validation: int | None = Field(default=None, ge=1)


class PromptsConfig(_Part):
    """System prompts of the prompt arms."""

    refusal: str = Field(min_length=1)
    honesty: str = Field(min_length=1)


class DirectionsConfig(_Part):
    """The two directions of the safety study."""

    refusal: DirectionConfig
    honesty: DirectionConfig


class StudyConfig(_Part):
    """Everything that decides a study's results."""

    study: Literal["refusal"]
    model: str = "default"
    dtype: str = "auto"
    seed: int = 0
    mode: Literal["quick", "full"] = "quick"
    directions: DirectionsConfig
    sets: dict[str, str]
    selection: SelectionConfig
    learning: LearningConfig | None = None
    sweep: SweepConfig
    generation: GenerationConfig
    knowledge: KnowledgeConfig = KnowledgeConfig()
    prompts: PromptsConfig
    limits: LimitsConfig

    @field_validator("sets")
    @classmethod
    def _known_sets(cls, values: dict[str, str]) -> dict[str, str]:
        if set(values) != set(SETS):
            raise ValueError(f"expected the sets {', '.join(SETS)}, got {', '.join(values) or 'none'}")
        return values

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain data, in the file's words."""
        return self.model_dump(mode="json", by_alias=True)


def read_config(
    name: str | Path,
    *,
    full: bool = False,
    overrides: Mapping[str, Any] | None = None,
    sets: Mapping[str, str] | None = None,
) -> StudyConfig:
    """Return a study's configuration: a built-in study or a YAML file, with the user's changes laid over it.

    Args:
        name: `refusal`, or the path of a YAML file of the same form.
        full: lay the file's section `full` over it.
        overrides: fields by name, dotted for inner ones, such as `{"sweep.raw": [1, 2]}`; `None` values are left out.
        sets: replacements of `sets` and of the directions' pairs (`refusal-pairs`, `honesty-pairs`).

    Raises:
        InputError: for a missing or malformed file, an unknown field or set, or a value out of range.
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
    values = cast(dict[str, Any], raw)
    more = values.pop("full", None)
    if full:
        values = _laid_over(values, {**(more or {}), "mode": "full"})
    for field, value in (overrides or {}).items():
        if value is not None:
            head, _, rest = field.partition(".")
            values = _laid_over(values, {head: {rest: value} if rest else value})
    for field, value in (sets or {}).items():
        values = _laid_over(values, _replacement(field, value))
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        # Our own sentences say what they got.
        words = first["msg"].removeprefix("Value error, ")
        came = "" if words != first["msg"] else f", got {repr(first.get('input'))[:60]}"
        raise InputError(f"{path}, {where}: {words}{came}") from None


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


def _replacement(name: str, path: str) -> dict[str, Any]:
    if name in SETS:
        return {"sets": {name: path}}
    direction, dash, kind = name.rpartition("-")
    if dash and kind == "pairs" and direction in ("refusal", "honesty"):
        return {"directions": {direction: {"pairs": path}}}
    known = ", ".join((*SETS, "refusal-pairs", "honesty-pairs"))
    raise InputError(f"expected a set among {known} before the '=', got {name!r}")


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
