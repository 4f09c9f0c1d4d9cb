# scipy ships no types.
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""The leading axis of a cloud of vectors: the one thing that every PCA estimator needs."""

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, eigsh

from steersman.errors import InputError
from steersman.shapes import Float, Rows, Tensor, Vector

DENSE = 512
"""Up to this width all eigenvectors are computed; above it, Lanczos iterations find the first one far sooner."""


def leading_axis(rows: Rows) -> Vector:
    """Return the `[d]` unit vector along which the rows' uncentred second moment is largest; its sign means nothing.

    With fewer rows than coordinates the `[n, n]` matrix of inner products is solved in place of the `[d, d]` one.

    Args:
        rows: `[n, d]` float64; subtract their mean first for ordinary PCA.

    Raises:
        InputError: when all rows are zero.
    """
    if len(rows) >= rows.shape[1]:
        return leading_eigenvector(rows.T @ rows)
    axis = rows.T @ leading_eigenvector(rows @ rows.T)
    return axis / axis.norm()


def leading_eigenvector(matrix: Float[Tensor, "d d"]) -> Vector:
    """Return the unit eigenvector of the largest eigenvalue of a symmetric positive semi-definite float64 matrix.

    Raises:
        InputError: when the matrix is zero.
    """
    scale = float(matrix.diagonal().max())
    if not scale > 0:
        raise InputError("expected vectors that differ from each other to find an axis in, got none that do")
    # Scaled, so that neither tiny nor huge activations leave the range in which the solvers are exact.
    scaled = matrix / scale
    if len(scaled) > DENSE:
        try:
            # The start is fixed: the solver's own is random.
            start = np.ones(len(scaled)) / len(scaled) ** 0.5
            _, vectors = eigsh(scaled.numpy(), k=1, which="LA", v0=scaled.numpy() @ start + start)
            return torch.from_numpy(np.ascontiguousarray(vectors[:, 0]))
        except ArpackError:  # no convergence: nearly equal eigenvalues
            pass
    return torch.linalg.eigh(scaled).eigenvectors[:, -1]
