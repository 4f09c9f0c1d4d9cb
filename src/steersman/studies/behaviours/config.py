"""The behaviours study's configuration."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.composition import WAYS
from steersman.errors import InputError
from steersman.studies.configuring import Part, StudyConfig

SETS = ("knowledge", "prose")
KINDS = ("unsteered", "single", "combined", "simultaneous", "one layer", "random", "prompt")
"""The kinds of settings, in the order in which they are reported."""

SEVERAL = ("combined", "simultaneous", "one layer")
"""The kinds that put several directions together."""

NAME = re.compile(r"[a-z][a-z0-9-]*")

Share = Annotated[float, Field(ge=0, le=1)]


class SplitConfig(Part):
    """How a file that says no splits is cut, by position: train, validation and test."""

    counts: tuple[int, int, int | Literal["rest"]] | None = (500, 200, "rest")
    shares: tuple[Share, Share, Share] = (0.5, 0.2, 0.3)

    @field_validator("counts")
    @classmethod
    def _some(cls, value: tuple[int, int, Any] | None) -> Any:
        if value is not None and any(part != "rest" and part < 1 for part in value):
            raise ValueError("expected at least 1 item of every split")
        return value

    @field_validator("shares")
    @classmethod
    def _whole(cls, value: tuple[float, float, float]) -> Any:
        if min(value) <= 0 or sum(value) > 1 + 1e-9:
            raise ValueError("expected three shares above 0 that add up to 1 at most")
        return value


class LettersConfig(Part):
    """At which points of the grid the letters are read as well."""

    layers: list[int | float] | None = None
    coefficients: list[float] = Field(default=[])
    order: Literal["alternate", "both", "given"] = "alternate"


class GridConfig(Part):
    """Layers and signed coefficients, in norm units, at which every single behaviour is measured."""

    layers: list[int | float] = Field(min_length=1)
    coefficients: list[float] = Field(min_length=1)
    letters: LettersConfig = LettersConfig()

    @field_validator("coefficients")
    @classmethod
    def _no_zero(cls, values: list[float]) -> list[float]:
        # Coefficient 0 is the unsteered arm, always measured.
        kept = sorted({value for value in values if value != 0})
        if not kept or not kept[0] < 0 < kept[-1]:
            raise ValueError("expected coefficients of both signs")
        return kept


class GuardConfig(Part):
    """What makes a setting ineligible; see `steersman.studies.behaviours.eligibility.verdict`."""

    drift: float = Field(default=0.5, gt=0)
    faulty: float = Field(default=0.05, ge=0, le=1)
    collapse: float = Field(default=0.95, gt=0.5, lt=1)
    tokens: int = Field(default=48, ge=2)


class CombinedConfig(Part):
    """How directions are put together, and the scales that are tried."""

    ways: list[str] = Field(default=list(WAYS))
    weighted: list[bool] = Field(default=[True, False], min_length=1)
    simultaneous: bool = True
    one_layer: bool = Field(default=True, alias="one layer")
    signs: list[Literal["+", "-"]] = Field(default=["+", "-"])
    mixed: dict[str, Literal[1, -1]] | None = None
    scales: list[float] = Field(min_length=1)
    layer: int | float | None = None
    threshold: float = Field(default=0.3, gt=0)

    @field_validator("ways")
    @classmethod
    def _known_ways(cls, values: list[str]) -> list[str]:
        if unknown := set(values) - set(WAYS):
            raise ValueError(f"expected ways among {', '.join(WAYS)}, got {', '.join(sorted(unknown))}")
        return list(dict.fromkeys(values))

    @field_validator("scales")
    @classmethod
    def _positive(cls, values: list[float]) -> list[float]:
        if min(values) <= 0:
            raise ValueError("expected scales above 0")
        return sorted(set(values))


class ControlsConfig(Part):
    """Random directions of equal norm in the place of all, and which kinds of settings have them."""

    random: int = Field(default=2, ge=0)
    of: list[Literal["single", "combined", "simultaneous", "one layer"]] = Field(default=["simultaneous"])
    prompt: bool = True


class KnowledgeConfig(Part):
    """How the alignment tax is asked, and at which kinds of settings; see `steersman.tasks.KnowledgeTask`."""

    form: Literal["chat", "plain"] = "chat"
    scoring: list[Literal["letter", "text"]] = Field(default=["text", "letter"], min_length=1)
    shots: int = Field(default=0, ge=0, le=5)
    kinds: list[str] = Field(default=list(KINDS))

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, values: list[str]) -> list[str]:
        if unknown := set(values) - set(KINDS):
            raise ValueError(f"expected kinds among {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
        # Every change is taken to the unsteered model.
        return [kind for kind in KINDS if kind in {"unsteered", *values}]


class AskConfig(Part):
    """What a system prompt says to have more of a behaviour, and less."""

    more: str = Field(min_length=1)
    less: str = Field(min_length=1)


class LimitsConfig(Part):
    """Items of each set, per behaviour; all where null. `curves`: questions at each scale; none where 0."""

    train: int | None = Field(default=None, ge=1)
    validation: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    prose: int | None = Field(default=None, ge=1)
    knowledge: int | None = Field(default=None, ge=1)
    curves: int = Field(default=0, ge=0)


class BehavioursConfig(StudyConfig):
    """Everything that decides the behaviours study's results."""

    behaviours: dict[str, str | None]
    split: SplitConfig = SplitConfig()
    reading: Literal["text", "letter"] = "text"
    scoring: Literal["text", "letter"] = "text"
    form: Literal["chat", "plain"] = "chat"
    grid: GridConfig
    guard: GuardConfig = GuardConfig()
    combined: CombinedConfig
    controls: ControlsConfig = ControlsConfig()
    sets: dict[str, str]
    knowledge: KnowledgeConfig = KnowledgeConfig()
    opening: str = Field(min_length=1)
    asks: dict[str, AskConfig] = Field(default={})
    limits: LimitsConfig

    @field_validator("behaviours")
    @classmethod
    def _named(cls, values: dict[str, str | None]) -> dict[str, str | None]:
        kept = {name: source for name, source in values.items() if source is not None}
        if len(kept) < 2:
            raise ValueError("expected two behaviours or more")
        for name in kept:
            _check_name(name)
        return {**kept}

    @field_validator("sets")
    @classmethod
    def _known_sets(cls, values: dict[str, str]) -> dict[str, str]:
        if set(values) != set(SETS):
            raise ValueError(f"expected the sets {', '.join(SETS)}, got {', '.join(values) or 'none'}")
        return values

    @model_validator(mode="after")
    def _known_behaviours(self) -> "BehavioursConfig":
        if unknown := set(self.combined.mixed or {}) - set(self.behaviours):
            raise ValueError(f"expected behaviours of the study in combined.mixed, got {', '.join(sorted(unknown))}")
        return self

    @property
    def sources(self) -> dict[str, str]:
        """The source of every behaviour, by name, in their order."""
        return {name: source for name, source in self.behaviours.items() if source is not None}

    @classmethod
    def replacement(cls, name: str, path: str) -> dict[str, Any]:
        """Return what `--set NAME=PATH` lays over the file: `knowledge`, `prose`, or a behaviour by any name.

        A behaviour that the file does not have is added; the path `none` takes one out.

        Raises:
            InputError: for a name that cannot be a behaviour's.
        """
        if name in SETS:
            return {"sets": {name: path}}
        plain = name.lower().replace("_", "-")
        _check_name(plain)
        return {"behaviours": {plain: None if path == "none" else path}}


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in SETS:
        raise InputError(f"expected a behaviour's name of small letters, digits and hyphens, got {name!r}")
