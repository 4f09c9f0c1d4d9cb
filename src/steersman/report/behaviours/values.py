"""What a study of behaviours measured, as frozen values.

Shares are fractions 0 to 1, margins and their changes nats per token, coefficients in the record's unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.maths.statistics import Estimate
from steersman.report.vector_figures import Histogram, LayerFigures, Square


@dataclass(frozen=True)
class Behaviour:
    """One behaviour: its name, where its items come from, and how many serve for what."""

    name: str
    source: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Vector:
    """A behaviour's vector, read at the answer's text or at its letter."""

    behaviour: str
    reading: str
    by_layer: tuple[LayerFigures, ...]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True)
class Baseline:
    """A behaviour in the unsteered model, on the test items."""

    behaviour: str
    text: Estimate
    margin: Estimate
    letter: Estimate | None
    token: Estimate | None
    faulty: Estimate | None
    collapse: tuple[str, ...]
    given: float | None


@dataclass(frozen=True)
class Cell:
    """One layer and coefficient of one behaviour alone, on the validation items."""

    behaviour: str
    layer: int
    coefficient: float
    text: Estimate
    margin: Estimate
    margin_change: Estimate
    eligible: bool
    why: str


@dataclass(frozen=True)
class Letters:
    """The same items answered by letter; without a layer, unsteered.

    `given` is the share of the answer that is given most often, by log-probability; None where it was not recorded.
    """

    behaviour: str
    layer: int | None
    coefficient: float
    letter: Estimate
    token: Estimate
    faulty: Estimate
    collapsed: bool
    collapse: tuple[str, ...]
    given: float | None


@dataclass(frozen=True)
class Chosen:
    """The point that was chosen for a behaviour and a sign; no layer and coefficient where none was eligible."""

    behaviour: str
    sign: int
    layer: int | None
    coefficient: float | None
    reason: str


@dataclass(frozen=True)
class Point:
    """One value of the global scale, on the validation items; `drift` is of plain prose, nats per token."""

    scale: float
    margin_change: Mapping[str, Estimate]
    text_change: Mapping[str, Estimate]
    tax: Estimate | None
    drift: Estimate | None = None


@dataclass(frozen=True)
class Curve:
    """One way of steering over the global scale."""

    setting: str
    kind: str
    sign: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Member:
    """One behaviour's part in a setting; see `steersman.composition.record.Member`."""

    behaviour: str
    site: str
    asked: float | None
    coefficient: float | None
    effect: float | None
    outcome: str


@dataclass(frozen=True)
class Score:
    """One behaviour under a setting, on the test items; changes are paired with the unsteered model."""

    text: Estimate
    margin: Estimate
    text_change: Estimate
    margin_change: Estimate


@dataclass(frozen=True)
class Tax:
    """Knowledge under a setting: accuracy, and its paired change from the unsteered model."""

    accuracy: Estimate
    change: Estimate
    n: int


@dataclass(frozen=True)
class Setting:
    """One way of steering that was measured on the test items."""

    name: str
    kind: str
    way: str | None
    weighted: bool | None
    sign: int
    scale: float | None
    members: tuple[Member, ...]
    warnings: tuple[str, ...]
    pushes: Mapping[str, float]
    scores: Mapping[str, Score]
    tax: Tax | None


@dataclass(frozen=True)
class Prediction:
    """What the cosines foretold for a behaviour under a setting, and what came, both relative to it alone.

    `counts` is false where the behaviour alone did not move, so that a share of that says nothing.
    """

    setting: str
    behaviour: str
    predicted: float
    measured: Estimate | None
    agrees: bool
    counts: bool = True


@dataclass(frozen=True)
class Agreement:
    """How well the predictions did."""

    n: int
    sign_agreement: Estimate | None
    rank_correlation: Estimate | None
    sentence: str


@dataclass(frozen=True)
class Record:
    """All that a study of behaviours measured."""

    model: str
    layers: int
    unit: str
    behaviours: tuple[Behaviour, ...]
    vectors: tuple[Vector, ...]
    cosines: tuple[Square, ...]
    baseline: tuple[Baseline, ...]
    grid: tuple[Cell, ...]
    letters: tuple[Letters, ...]
    chosen: tuple[Chosen, ...]
    curves: tuple[Curve, ...]
    settings: tuple[Setting, ...]
    predictions: tuple[Prediction, ...]
    prediction: Agreement | None
    finding: tuple[str, ...]
    scoring: str = "text"
    notes: tuple[str, ...] = ()

    @property
    def nats(self) -> str:
        """The unit of margins: per token where words of different length are compared, not for single letters."""
        return "nats" if self.scoring == "letter" else "nats per token"

    @property
    def names(self) -> tuple[str, ...]:
        """The behaviours' names, in their order."""
        return tuple(each.name for each in self.behaviours)
