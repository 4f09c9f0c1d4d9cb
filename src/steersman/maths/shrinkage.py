# torch.linalg is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Whitening by a shrunk covariance: what linear discriminant analysis needs where texts are fewer than coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steersman.errors import InputError
from steersman.maths.samples import Sample, Stored, Summed
from steersman.shapes import Float, Rows, Tensor, Vector


@dataclass(frozen=True)
class Whitened:
    """A vector multiplied by an inverse covariance.

    Args:
        vector: `[d]` float64.
        shrinkage: how far the covariance was shrunk, 0 to 1.
    """

    vector: Vector
    shrinkage: float


def ledoit_wolf(n: int, d: int, trace: float, square: float, quartic: float) -> float:
    """Return the shrinkage that Ledoit and Wolf estimate to be best, in [0, 1].

    Args:
        n: number of centred vectors x.
        d: their width.
        trace: of the covariance `S = sum x x' / n`.
        square: squared Frobenius norm of S.
        quartic: `sum |x|⁴`.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", section 3.
    """
    distance = square - trace**2 / d
    noise = (quartic / n - square) / n
    return min(1.0, max(0.0, noise / distance)) if distance > 0 else 1.0


def whiten(vector: Vector, samples: Sequence[Sample], shrinkage: float | None = None) -> Whitened:
    """Return `C⁻¹ vector`, with `C = (1 - s) S + s (tr S / d) I` S the samples' pooled covariance about their means.

    Stored samples of fewer rows than coordinates are solved in the rows' own space (Woodbury's identity), in time that
    grows with d and not with its cube.

    Args:
        vector: `[d]` float64.
        samples: one per class, all stored or all summed.
        shrinkage: s, 0 to 1; by `ledoit_wolf` where not given.

    Raises:
        InputError: when nothing spreads within the classes, or an unshrunk covariance has no inverse.
    """
    stored = [sample.centred for sample in samples if isinstance(sample, Stored)]
    n, d = sum(sample.count for sample in samples), len(vector)
    if stored:
        rows = torch.cat(stored)
        narrow = n < d
        matrix = rows @ rows.T if narrow else rows.T @ rows
        quartic = float(((rows**2).sum(1) ** 2).sum())
    else:
        rows, narrow = None, False
        summed = [sample for sample in samples if isinstance(sample, Summed)]
        matrix = sum((sample.scatter for sample in summed[1:]), summed[0].scatter)
        quartic = sum(sample.centred_quartic for sample in summed)
    # Both the [n, n] and the [d, d] product have the covariance's trace and Frobenius norm, times n.
    trace, square = float(matrix.trace()) / n, float((matrix**2).sum()) / n**2
    if not trace > 0:
        raise InputError("expected texts that differ within their class, got a covariance of zero; give more texts")
    amount = ledoit_wolf(n, d, trace, square, quartic) if shrinkage is None else shrinkage
    ridge, weight = amount * trace / d, (1 - amount) / n
    if rows is not None and narrow:
        return Whitened(_solve_rows(vector, rows, matrix, ridge, weight), amount)
    return Whitened(_solve(weight * matrix, ridge, vector), amount)


def _solve_rows(
    vector: Vector, rows: Rows, products: Float[Tensor, "n n"], ridge: float, weight: float
) -> Float[Tensor, " d"]:
    if not ridge > 0:
        raise InputError(
            f"expected a shrinkage above 0 with fewer texts ({len(rows)}) than coordinates ({len(vector)}), got 0; the "
            "covariance has no inverse"
        )
    ratio = weight / ridge
    inner = _solve(ratio * products, 1.0, rows @ vector)
    return (vector - ratio * (rows.T @ inner)) / ridge


def _solve(matrix: Float[Tensor, "m m"], ridge: float, vector: Float[Tensor, "m"]) -> Float[Tensor, "m"]:
    """Return the solution of `(matrix + ridge I) x = vector` for a symmetric positive semi-definite matrix."""
    factor: Tensor
    failed: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype))
    diagonal = factor.diagonal()
    if bool(failed) or not float(diagonal.min()) > 1e-7 * float(diagonal.max()):
        raise InputError(
            "expected a covariance with an inverse, got a singular one; give a shrinkage above 0 or more texts"
        )
    return torch.cholesky_solve(vector[:, None], factor)[:, 0]
