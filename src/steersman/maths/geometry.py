"""Geometry of directions: units, cosines, random controls, running means."""

from dataclasses import dataclass, field

import torch

from steersman.errors import InputError
from steersman.shapes import Float, Rows, Tensor, Vector


def length(vector: Vector) -> float:
    """Return the L2 norm of a vector."""
    return float(vector.norm())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def lengths(rows: Float[Tensor, "*rest d"]) -> Float[Tensor, "*rest"]:
    """Return the L2 norms along the last dimension."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return norms  # pyright: ignore[reportUnknownVariableType]


def unit(vector: Vector) -> Vector:
    """Return the vector at length 1.

    Raises:
        InputError: when the vector has no length or is not finite.
    """
    norm = length(vector)
    if not norm > 0 or not torch.isfinite(vector).all():
        raise InputError(f"expected a finite vector of positive length, got length {norm}")
    return vector / norm


def cosine(a: Vector, b: Vector) -> float:
    """Return the cosine between two vectors, in [-1, 1]."""
    found = float(unit(a.double()) @ unit(b.double()))
    return max(-1.0, min(1.0, found))  # rounding can leave a hair more than 1


def random_like(vector: Vector, seed: int) -> Vector:
    """Return an isotropic random vector of the same length and type: the control of equal norm.

    Args:
        vector: `[d]`.
        seed: of a generator of its own; the global one is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(vector.shape, generator=generator, dtype=torch.float64)
    return (unit(draw) * length(vector.double())).to(vector.dtype)


def permuted_like(vector: Vector, seed: int) -> Vector:
    """Return the vector with its coordinates in a random order: the control that keeps norm and massive coordinates.

    Args:
        vector: `[d]`.
        seed: of a generator of its own; the global one is not touched.
    """
    return vector[torch.randperm(len(vector), generator=torch.Generator().manual_seed(seed))]


@dataclass
class RunningMean:
    """A mean of rows seen in batches, accumulated in float64 (bfloat16 sums lose the small differences)."""

    width: int
    count: int = 0
    total: Float[Tensor, "d"] = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.width, dtype=torch.float64)

    def add(self, rows: Rows) -> None:
        """Take `[n, d]` rows in."""
        self.total += rows.double().sum(0)
        self.count += rows.shape[0]

    @property
    def mean(self) -> Vector:
        """The `[d]` float64 mean; an error before the first row."""
        if not self.count:
            raise InputError("expected at least one row before a mean, got none")
        return self.total / self.count


def auroc(positive: Float[Tensor, "p"], negative: Float[Tensor, "m"]) -> float:
    """Return the probability that a positive score lies above a negative one (ties count half), in [0, 1].

    Equivalent to the normalised Mann-Whitney U statistic.
    """
    if not positive.numel() or not negative.numel():
        raise InputError("expected scores of both classes for an AUROC, got an empty one")
    # By rank, so that thousands of texts a side need no matrix of all cross pairs.
    ordered = negative.sort().values
    below, up_to = (torch.searchsorted(ordered, positive, right=right).sum() for right in (False, True))
    return float(below + up_to) / (2 * positive.numel() * negative.numel())


def massive_share(vector: Vector, count: int = 2) -> float:
    """Return the share of a vector's energy (squared length) in its largest coordinates, in [0, 1].

    Args:
        vector: `[d]`.
        count: how many of the largest.
    """
    squares = vector.double() ** 2
    return float(squares.topk(min(count, len(squares))).values.sum() / squares.sum())
