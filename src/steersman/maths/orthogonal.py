# torch.linalg is only partly typed.
# pyright: strict, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Vectors that overlap, set at right angles, and the coefficients that reach stated effects: all from their cosines.

Everything here works on the `[n, n]` cosine matrix G of n vectors, never on the vectors, however wide they are.
"""

import torch

from steersman.errors import InputError
from steersman.shapes import Float, Rows, Tensor

DEPENDENT = 1e-6
"""Least eigenvalue of a cosine matrix (of two vectors: 1 - |cosine|) below which its vectors count as dependent."""

HALVINGS = 200
"""Of the range in which a ridge is looked for: to the last bit, whatever its size."""

Square = Float[Tensor, "n n"]
Each = Float[Tensor, "n"]


def unit_rows(rows: Rows) -> Rows:
    """Return every row at length 1, in float64.

    Raises:
        InputError: for a row that has no length or is not finite.
    """
    wide = rows.double()
    norms: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    if not (torch.isfinite(norms) & (norms > 0)).all():
        raise InputError("expected vectors of positive, finite length, got one without")
    return wide / norms


def cosines_between(rows: Rows) -> Square:
    """Return the `[n, n]` float64 cosines between all rows, in [-1, 1], exactly 1 on the diagonal."""
    units = unit_rows(rows)
    found = (units @ units.T).clamp(-1, 1)  # rounding can leave a hair more than 1
    return ((found + found.T) / 2).fill_diagonal_(1.0)


def dependent(cosines: Square) -> list[int]:
    """Return which vectors take part in a linear dependence, 0-based; none where they are independent."""
    values, vectors = torch.linalg.eigh(cosines)
    if float(values[0]) >= DEPENDENT:
        return []
    part = vectors[:, 0].abs()
    return [index for index, share in enumerate(part.tolist()) if share > 0.1 * float(part.max())]


def gram_schmidt(cosines: Square) -> Square:
    """Return the lower triangular M for which the rows of `M @ units` are orthonormal, the first one unchanged.

    Formula: with the Cholesky factor `G = L L'`, `M = L^-1`. Equivalent to taking from every vector what the ones
    before it span, in the order given, which decides: the first keeps all, the last what the others leave it.

    Args:
        cosines: of independent vectors.

    Raises:
        InputError: for dependent ones.
    """
    _check_independent(cosines)
    identity = torch.eye(len(cosines), dtype=cosines.dtype)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(cosines), identity, upper=False)


def symmetric(cosines: Square) -> Square:
    """Return the symmetric M for which the rows of `M @ units` are orthonormal, each as near to its own as can be.

    Formula: `M = G^(-1/2)`. No order decides; of all orthonormal sets it has the least sum of squared distances to the
    unit vectors.

    Args:
        cosines: of independent vectors.

    Raises:
        InputError: for dependent ones.

    Reference: Löwdin (1950), "On the non-orthogonality problem connected with the use of atomic wave functions".
    """
    _check_independent(cosines)
    values, vectors = torch.linalg.eigh(cosines)
    return (vectors * values.rsqrt()) @ vectors.T


def reaching(cosines: Square, lengths: Each, targets: Each, most: float | None = None) -> Each:
    """Return the coefficients c whose sum `x = sum c_i n_i u_i` has the effects nearest to the targets.

    The effect on vector j is `x . u_j / n_j`. Least squares over the effects, each in its own unit: exact where the
    vectors are independent and no bound is in the way. Where dependent vectors leave a choice, the one with the least
    sum of squares of `c_i n_i` is taken.

    Args:
        cosines: G, between the unit vectors u.
        lengths: n, what coefficient 1 means, above 0.
        targets: the effects asked for, `[n]`.
        most: the greatest length of x, above 0; no bound where not given.

    Raises:
        InputError: for a bound that is not above 0.
    """
    if most is not None and not most > 0:
        raise InputError(f"expected a length above 0 as the bound, got {most}")
    values, vectors = torch.linalg.eigh(cosines)
    kept = values >= DEPENDENT
    roots, axes = values[kept].sqrt(), vectors[:, kept]
    # In an orthonormal basis of what the vectors span, x has the coordinates y, and |x| = |y|.
    effects = axes * roots / lengths[:, None]
    left, sizes, right = torch.linalg.svd(effects, full_matrices=False)
    wanted = left.T @ targets
    found = wanted / sizes
    if most is not None and float(found.norm()) > most:
        found = _within(sizes, wanted, most)
    return axes @ ((right.T @ found) / roots) / lengths


def _within(sizes: Float[Tensor, "r"], wanted: Float[Tensor, "r"], most: float) -> Float[Tensor, "r"]:
    """Return the y of length `most` that minimises `|diag(sizes) y - wanted|`: a ridge, as strong as it has to be."""

    def ridged(strength: float) -> Float[Tensor, "r"]:
        return sizes * wanted / (sizes**2 + strength)

    # Longer than the bound without a ridge, and no longer than it with the upper one.
    low, high = 0.0, float((sizes * wanted).norm()) / most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(ridged(middle).norm()) > most else (low, middle)
    found = ridged(high)
    return found * (most / float(found.norm()))


def _check_independent(cosines: Square) -> None:
    if which := dependent(cosines):
        raise InputError(f"expected independent vectors, got dependent ones: {', '.join(map(str, which))}")
