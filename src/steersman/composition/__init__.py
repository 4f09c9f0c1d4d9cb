"""Several directions together: one vector of them all, or each at its own site; and what each does to the others.

Let `u_i` be the directions' unit vectors at a site, `n_i` the length that coefficient 1 means there (in `norm` units
the mean residual norm of each direction's texts, in `raw` units the vector's own length) and G the matrix of their
cosines. Every way to make one vector of them is a choice of coefficients c, and all of them push on every axis:

    x = sum_i c_i n_i u_i        effect on direction j's own axis: e_j = x . u_j / n_j

An effect is counted in the unit of coefficients: as much as that coefficient of direction j alone would push along its
axis. Where all n are equal, `e = G c`, and the ways differ in how much of the overlap they take out, for weights w or
targets t:

    sum, mean       c = w (of a mean, over the sum of |w|)      e = G w          none of it
    gram-schmidt    c = L'^-1 w, with G = L L'                  e = L w          out of each what comes before it
    symmetric       c = G^-1/2 w                                e = G^1/2 w      half of it, from both
    solve           c = G^-1 t                                  e = t            all of it, at the price of length

In `norm` units a mean and a sum point the same way and differ in length only. Effects are what is *written* along an
axis of the residual stream, to first order; what a model makes of it is measured, not predicted.

`inject` adds each direction at a site of its own instead, with one scale for all, which van der Weij et al. (2024)
found promising where one vector mostly failed; at one common site it is the fair comparison, and equals `sum`.
"""

from steersman.composition.combining import WAYS, Way, combined, compose, orthogonalised
from steersman.composition.frame import check_alike, common_site, cosine_matrix, gram_matrix, sites_in_common
from steersman.composition.injecting import inject
from steersman.composition.record import INTERFERENCE, Composition, Member, Pairing

__all__ = [
    "INTERFERENCE",
    "WAYS",
    "Composition",
    "Member",
    "Pairing",
    "Way",
    "check_alike",
    "combined",
    "common_site",
    "compose",
    "cosine_matrix",
    "gram_matrix",
    "inject",
    "orthogonalised",
    "sites_in_common",
]
