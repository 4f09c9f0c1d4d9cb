"""The record of a study of broad skills as frozen values; `reading` makes them of `skills.json`.

Accuracies and shares are fractions of 1 here and become percent on the page. A relative accuracy is the accuracy under
steering divided by that of the unsteered model on the same tokens: 1 is unharmed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from steersman.maths.statistics import Estimate
from steersman.report.vector_figures import Histogram, LayerFigures, Square

FILE: Final = "skills.json"
VERSION: Final = 1
ROLES: Final = ("keep", "remove", "watch")
ARMS: Final = ("steered", "permuted", "random")
READINGS: Final = ("mean", "last")
ACCURACIES: Final = ("top1_accuracy", "top10_accuracy")
LOSS: Final = "cross_entropy"


@dataclass(frozen=True)
class Corpus:
    """A set of texts: its role (`keep`, `remove` or `watch`), how many texts each part holds, tokens scored on test."""

    name: str
    role: str
    source: str
    train: int
    validation: int
    test: int
    tokens: int


@dataclass(frozen=True)
class Vector:
    """One kind of vector; `masked` is how many of its largest coordinates were set to 0 before use."""

    name: str
    remove: str
    reading: str
    masked: int
    by_layer: tuple[LayerFigures, ...]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True)
class Point:
    """One coefficient: by corpus and metric, the measured value and its comparison with the unsteered model.

    `relative` holds the two accuracies as fractions of the unsteered one, `change` the cross-entropy's rise in nats.
    """

    coefficient: float
    absolute: Mapping[str, Mapping[str, Estimate]]
    relative: Mapping[str, Mapping[str, Estimate]]
    change: Mapping[str, Estimate]


@dataclass(frozen=True)
class Kept:
    """Where a curve passes the level of the kept skill, between the coefficients it was measured at."""

    coefficient: float
    keep: Estimate
    skills: Mapping[str, Estimate]


@dataclass(frozen=True)
class Curve:
    """One vector at one set of layers over rising coefficients, 0 first; a control has the seed it was drawn with."""

    vector: str
    remove: str
    arm: str
    seed: int | None
    layers: tuple[int, ...]
    points: tuple[Point, ...]
    area: Estimate | None
    kept: Kept | None

    def is_of(self, vector: str, layers: Sequence[int]) -> bool:
        """Whether it is of this vector at these layers, whatever the arm."""
        return self.vector == vector and self.layers == tuple(layers)

    def at(self, coefficient: float) -> Point | None:
        """The point measured at a coefficient; None where it was not."""
        near = (point for point in self.points if math.isclose(point.coefficient, coefficient, rel_tol=1e-6))
        return next(near, None)


@dataclass(frozen=True)
class Choice:
    """What validation chose for one removed skill."""

    remove: str
    vector: str
    layers: tuple[int, ...]
    coefficient: float
    reason: str


@dataclass(frozen=True)
class Contrast:
    """One question with two answers and their paired difference; values are None where a level was never reached."""

    question: str
    remove: str
    first: str
    second: str
    at: float | None
    first_value: Estimate | None
    second_value: Estimate | None
    difference: Estimate | None
    measure: str
    sentence: str


@dataclass(frozen=True)
class Skills:
    """The whole record of a study of broad skills."""

    model: str
    layers: int
    unit: str
    corpora: tuple[Corpus, ...]
    keep: str
    retain: float
    metric: str
    vectors: tuple[Vector, ...]
    cosines: tuple[Square, ...]
    validation: tuple[Curve, ...]
    test: tuple[Curve, ...]
    chosen: tuple[Choice, ...]
    comparisons: tuple[Contrast, ...]
    finding: tuple[str, ...]

    @property
    def removed(self) -> list[str]:
        """The skills to remove, in the order of the corpora."""
        return [corpus.name for corpus in self.corpora if corpus.role == "remove"]

    def curves(self, part: str, remove: str) -> list[Curve]:
        """The curves of one removed skill on `validation` or `test`."""
        return [curve for curve in (self.test if part == "test" else self.validation) if curve.remove == remove]

    def choices(self, remove: str) -> list[Choice]:
        """What was chosen for a removed skill, the first one first."""
        return [choice for choice in self.chosen if choice.remove == remove]
