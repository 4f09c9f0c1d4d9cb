"""A sample of vectors, stored row by row or as sums: means, second moments and leading axes come from either."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

import torch

from steersman.errors import InputError
from steersman.maths.spectrum import leading_axis, leading_eigenvector
from steersman.shapes import Float, Rows, Tensor, Vector


class Sample(ABC):
    """`n` vectors of width d, in float64."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of vectors, n."""

    @property
    @abstractmethod
    def mean(self) -> Vector:
        """The `[d]` mean."""

    @property
    @abstractmethod
    def energy(self) -> float:
        """The mean squared length, in squared units of the vectors."""

    @property
    @abstractmethod
    def has_second(self) -> bool:
        """Whether second moments, and with them axes, can be had."""

    @abstractmethod
    def along(self, axis: Vector) -> float:
        """Return the mean squared projection on a unit vector, in squared units of the vectors."""

    @abstractmethod
    def axis(self, *, centred: bool) -> Vector:
        """Return the leading unit eigenvector of the second moment, about the mean where `centred`, else about zero.

        Raises:
            InputError: when there is no spread to find an axis in.
        """


@final
@dataclass(frozen=True)
class Stored(Sample):
    """A sample whose vectors are all at hand.

    Args:
        rows: `[n, d]` float64.
    """

    rows: Rows

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def mean(self) -> Vector:
        """The `[d]` mean of the rows."""
        return self.rows.mean(0)

    @property
    def energy(self) -> float:
        """The mean squared length of the rows."""
        return float((self.rows**2).sum(1).mean())

    @property
    def has_second(self) -> bool:
        """True: they are computed when asked for."""
        return True

    @property
    def centred(self) -> Rows:
        """The rows less their mean."""
        return self.rows - self.mean

    def along(self, axis: Vector) -> float:
        """Return the mean squared projection on a unit vector."""
        return float(((self.rows @ axis) ** 2).mean())

    def axis(self, *, centred: bool) -> Vector:
        """Return the leading axis of the rows, less their mean where `centred`."""
        return leading_axis(self.centred if centred else self.rows)


@final
@dataclass
class Summed(Sample):
    """A sample of which sums alone are kept, added to batch by batch: memory does not grow with n.

    Args:
        width: of the vectors, d.
        second: keep what second moments need: the `[d, d]` sum of outer products (8 d² bytes), the `[d]` sum of
            `|x|² x`, and the sum of `|x|⁴`, which the Ledoit-Wolf formula asks for.
    """

    width: int
    second: bool = False
    number: int = 0
    total: Float[Tensor, "d"] = field(init=False)
    outer: Float[Tensor, "w w"] = field(init=False)
    cubic: Float[Tensor, "d"] = field(init=False)
    square: float = 0.0
    quartic: float = 0.0

    def __post_init__(self) -> None:
        """Begin at zero."""
        kept = self.width if self.second else 0
        self.total = torch.zeros(self.width, dtype=torch.float64)
        self.cubic = torch.zeros(self.width, dtype=torch.float64)
        self.outer = torch.zeros(kept, kept, dtype=torch.float64)

    def add(self, rows: Rows) -> None:
        """Take `[n, d]` rows in."""
        rows = rows.double()
        squares = (rows**2).sum(1)
        self.number += len(rows)
        self.total += rows.sum(0)
        self.square += float(squares.sum())
        if self.second:
            self.outer.addmm_(rows.T, rows)
            self.cubic += squares @ rows
            self.quartic += float((squares**2).sum())

    def __add__(self, other: "Summed") -> "Summed":
        """Return the sums over both samples."""
        both = Summed(self.width, self.second and other.second)
        both.number = self.number + other.number
        both.total = self.total + other.total
        both.square = self.square + other.square
        if both.second:
            both.outer = self.outer + other.outer
            both.cubic = self.cubic + other.cubic
            both.quartic = self.quartic + other.quartic
        return both

    @property
    def count(self) -> int:
        """Number of vectors taken in."""
        return self.number

    @property
    def mean(self) -> Vector:
        """The `[d]` mean; an error before the first row."""
        if not self.number:
            raise InputError("expected at least one row before a mean, got none")
        return self.total / self.number

    @property
    def energy(self) -> float:
        """The mean squared length."""
        return self.square / self.number

    @property
    def has_second(self) -> bool:
        """Whether they were kept."""
        return self.second

    def along(self, axis: Vector) -> float:
        """Return the mean squared projection on a unit vector; an error without second moments."""
        return float(axis @ self._outer @ axis) / self.number

    def axis(self, *, centred: bool) -> Vector:
        """Return the leading axis of the second moment; an error without second moments."""
        return leading_eigenvector(self.scatter if centred else self._outer)

    @property
    def scatter(self) -> Float[Tensor, "d d"]:
        """The `[d, d]` sum of outer products about the mean; an error without second moments."""
        return self._outer - torch.outer(self.total, self.mean)

    @property
    def centred_quartic(self) -> float:
        """The sum of `|x - mean|⁴`, multiplied out into the sums that are kept."""
        mean = self.mean
        length = float(mean @ mean)
        return (
            self.quartic
            + 4 * float(mean @ self._outer @ mean)
            + self.number * length**2
            - 4 * float(mean @ self.cubic)
            + 2 * length * self.square
            - 4 * length * float(mean @ self.total)
        )

    @property
    def _outer(self) -> Float[Tensor, "d d"]:
        if not self.second:
            raise InputError(
                "expected moments with second moments for this method, got means alone; record with second=True"
            )
        return self.outer
