"""The skills study's configuration."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.errors import InputError
from steersman.studies.configuring import Part, StudyConfig

Role = Literal["keep", "remove", "watch"]
Reading = Literal["last", "mean"]
Level = Literal["top1_accuracy", "top10_accuracy"]


class SourceConfig(Part):
    """Where a corpus's texts come from.

    Args:
        source: built in (`python`, `english`, `cpp`), `hub:owner/name`, or a file, folder or pattern.
        field: where the text stands in a record; of JSONL and of the hub.
        rows: so many first records of a hub's set are streamed.
        only: records whose fields have these values, such as `{meta.pile_set_name: Github}`.
        without: records whose fields do not.
    """

    source: str = Field(min_length=1)
    field: str = "text"
    rows: int = Field(default=5_000, ge=1)
    only: dict[str, str] = Field(default={})
    without: dict[str, str] = Field(default={})


class CorpusConfig(Part):
    """One skill: its texts, and whether it is to be kept, removed, or only watched."""

    role: Role
    sources: list[SourceConfig] = Field(min_length=1)

    @field_validator("sources", mode="before")
    @classmethod
    def _plain_names(cls, values: Any) -> Any:
        many = values if isinstance(values, list) else [values]
        return [{"source": each} if isinstance(each, str) else each for each in many]


class TextsConfig(Part):
    """How many texts of each corpus and split, and how much of each.

    Args:
        train: for the vectors.
        validation: for the choice.
        test: for the report.
        characters: the longest text.
        tokens: at most so many of each text are counted.
        leave_out: so many of a corpus's most frequent tokens are not counted.
    """

    train: int = Field(default=200, ge=2)
    validation: int = Field(default=12, ge=2)
    test: int = Field(default=24, ge=2)
    characters: int = Field(default=240, ge=20)
    tokens: int = Field(default=128, ge=2)
    leave_out: int = Field(default=0, ge=0)


class VectorsConfig(Part):
    """Which vectors are made of each removed skill: every reading, with every mask.

    Args:
        readings: the last token, or the mean over all.
        masked: numbers of largest coordinates set to zero; 0 is the raw vector.
    """

    readings: list[Reading] = Field(default=["last", "mean"], min_length=1)
    masked: list[int] = Field(default=[0, 2], min_length=1)

    @field_validator("readings", "masked")
    @classmethod
    def _different(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("expected different entries, got one twice")
        return values

    @field_validator("masked")
    @classmethod
    def _counts(cls, values: list[int]) -> list[int]:
        if min(values) < 0:
            raise ValueError("expected numbers of coordinates of 0 or more")
        return values


class SweepConfig(Part):
    """Where and how strongly; coefficients are in `norm` units, of each layer where there are several.

    Args:
        layers: sets of layers, single ones and several together; whole numbers, or shares of the depth.
        coefficients: on validation texts, rising.
        multiples: on test texts, of the coefficient that was chosen.
        refine: so many further coefficients where a curve leaps over the kept level.
        extend: so many further ones beyond the last, where it does not reach it.
        permuted: controls with permuted coordinates, a seed each.
        random: random controls of equal norm, a seed each.
    """

    layers: list[list[int | float]] = Field(min_length=1)
    coefficients: list[float] = Field(min_length=1)
    multiples: list[float] = Field(default=[0.5, 1.0, 1.5], min_length=1)
    refine: int = Field(default=1, ge=0, le=8)
    extend: int = Field(default=3, ge=0, le=12)
    permuted: int = Field(default=3, ge=1)
    random: int = Field(default=1, ge=0)

    @field_validator("coefficients", "multiples")
    @classmethod
    def _rising(cls, values: list[float]) -> list[float]:
        if min(values) <= 0:
            raise ValueError("expected positive coefficients; 0 is always measured")
        return sorted(set(values))

    @field_validator("layers")
    @classmethod
    def _none_empty(cls, values: list[list[int | float]]) -> list[list[int | float]]:
        if not all(values):
            raise ValueError("expected at least one layer in every set of layers")
        return values


class SkillsConfig(StudyConfig):
    """Everything that decides the skills study's results.

    Args:
        corpora: by name, with exactly one role `keep` and at least one `remove`.
        retain: the share of the kept skill that has to stay.
        metric: what a level is.
        broad: the removed corpus of the broader skill, to be compared with that of the narrower one; `None` for none.
        narrow: the narrower one.
    """

    corpora: dict[str, CorpusConfig]
    texts: TextsConfig = TextsConfig()
    vectors: VectorsConfig = VectorsConfig()
    sweep: SweepConfig
    retain: float = Field(default=0.9, gt=0, lt=1)
    metric: Level = "top1_accuracy"
    broad: str | None = None
    narrow: str | None = None

    @model_validator(mode="after")
    def _roles(self) -> "SkillsConfig":
        roles = [each.role for each in self.corpora.values()]
        if roles.count("keep") != 1 or "remove" not in roles:
            raise ValueError(
                f"expected corpora with one role keep and at least one remove, got {', '.join(roles) or 'none'}"
            )
        pair = [name for name in (self.broad, self.narrow) if name is not None]
        if pair and (len(pair) == 1 or len(set(pair)) == 1 or not set(pair) <= set(self.removed)):
            raise ValueError(f"expected broad and narrow as two of the removed corpora ({', '.join(self.removed)})")
        return self

    @property
    def keep(self) -> str:
        """The name of the corpus that is to be kept."""
        return next(name for name, each in self.corpora.items() if each.role == "keep")

    @property
    def removed(self) -> list[str]:
        """The names of the corpora that are to be removed."""
        return [name for name, each in self.corpora.items() if each.role == "remove"]

    @classmethod
    def replacement(cls, name: str, path: str) -> dict[str, Any]:
        """Return what `--set NAME=PATH` lays over the file: the corpus's sources become this one.

        Raises:
            InputError: for an empty path.
        """
        if not path.strip():
            raise InputError(f"expected a path or a source behind {name}=, got none")
        return {"corpora": {name: {"sources": [path]}}}

    @classmethod
    def checked(cls, values: Any, path: Path) -> "SkillsConfig":
        """Return the configuration of plain data; a set that no corpus has is named.

        Raises:
            InputError: for an unknown field or corpus, or a value out of range, with the file and the field.
        """
        corpora = values.get("corpora")
        if isinstance(corpora, dict):
            known = [name for name, each in corpora.items() if not isinstance(each, dict) or "role" in each]
            for name in corpora:
                if name not in known:
                    raise InputError(f"expected a corpus among {', '.join(known)} before the '=', got {name!r}")
        return super().checked(values, path)
