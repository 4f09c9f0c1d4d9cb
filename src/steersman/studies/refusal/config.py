"""The refusal study's configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from steersman.errors import InputError
from steersman.prompts import Contrast
from steersman.selection.budget import EXAMPLE, Budget
from steersman.selection.rules import rule_named
from steersman.studies.configuring import Part, StudyConfig
from steersman.where import Span

CONTROLS = ("random", "permuted", "negated", "shuffled", "prompt", "prompt+steered")
SETS = ("harmful", "ordinary", "over-refusal", "knowledge", "prose")


class DirectionConfig(Part):
    """How a direction is fitted."""

    pairs: str
    contrast: Contrast = "completion"
    span: str = "completion"
    opening_tokens: int | None = Field(default=None, ge=1)

    @field_validator("span")
    @classmethod
    def _known_span(cls, value: str) -> str:
        return str(Span.parse(value))


class SelectionConfig(Part):
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


class LearningConfig(Part):
    """How the direction is learned from the mean difference; see `steersman.learning.Optimiser`."""

    steps: int = Field(default=70, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    keep: float = Field(default=2.0, ge=0)
    limit: float = Field(default=0.5, gt=0)
    tokens: int = Field(default=24, ge=1)


class SweepConfig(Part):
    """What is measured on the held-out sets."""

    relative: list[float] = Field(default=[])
    raw: list[float] = Field(default=[])
    honesty: list[float] = Field(default=[])
    random: list[float] = Field(default=[])
    controls: list[str] = Field(default=list(CONTROLS))
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


class KnowledgeConfig(Part):
    """How knowledge is asked; see `steersman.tasks.KnowledgeTask`."""

    form: Literal["chat", "plain"] = "chat"
    scoring: list[Literal["letter", "text"]] = Field(default=["letter", "text"])
    shots: int = Field(default=0, ge=0, le=5)


class GenerationConfig(Part):
    """How completions are made; greedy."""

    max_new_tokens: int = Field(default=32, ge=1)


class LimitsConfig(Part):
    """Items of each set; all where null."""

    harmful: int | None = Field(default=None, ge=1)
    ordinary: int | None = Field(default=None, ge=1)
    over_refusal: int | None = Field(default=None, ge=1, alias="over-refusal")
    knowledge: int | None = Field(default=None, ge=1)
    prose: int | None = Field(default=None, ge=1)
    validation: int | None = Field(default=None, ge=1)


class PromptsConfig(Part):
    """System prompts of the prompt arms."""

    refusal: str = Field(min_length=1)
    honesty: str = Field(min_length=1)


class DirectionsConfig(Part):
    """The two directions of the safety study."""

    refusal: DirectionConfig
    honesty: DirectionConfig


class RefusalConfig(StudyConfig):
    """Everything that decides the refusal study's results."""

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

    @classmethod
    def replacement(cls, name: str, path: str) -> dict[str, Any]:
        """Return what `--set NAME=PATH` lays over the file: a set, or `refusal-pairs` or `honesty-pairs`.

        Raises:
            InputError: for an unknown name.
        """
        if name in SETS:
            return {"sets": {name: path}}
        direction, dash, kind = name.rpartition("-")
        if dash and kind == "pairs" and direction in ("refusal", "honesty"):
            return {"directions": {direction: {"pairs": path}}}
        known = ", ".join((*SETS, "refusal-pairs", "honesty-pairs"))
        raise InputError(f"expected a set among {known} before the '=', got {name!r}")
