"""Orthonormal sets and least squares, from cosines alone: laws of linear algebra, held against numpy's own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.orthogonal import cosines_between, dependent, gram_schmidt, reaching, symmetric, unit_rows


@st.composite
def overlapping(draw, most=5):
    """Rows of a common part and parts of their own, so that cosines run from none to nearly 1."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count, width = draw(st.integers(2, most)), draw(st.integers(6, 40))
    common = torch.randn(1, width, generator=generator, dtype=torch.float64)
    own = torch.randn(count, width, generator=generator, dtype=torch.float64)
    sizes = 10 ** torch.empty(count, 1, dtype=torch.float64).uniform_(-3, 3, generator=generator)
    return (own + draw(st.floats(-3, 3)) * common) * sizes


def spans_the_same(rows, others):
    """Return whether every row lies in what the others span, and there are as many dimensions."""
    together = torch.cat([unit_rows(rows), unit_rows(others)])
    return int(torch.linalg.matrix_rank(together, rtol=1e-8)) == len(rows) == len(others)


def is_orthonormal(rows):
    return torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-9)


@settings(deadline=None)
@given(overlapping())
def test_gram_schmidt_keeps_the_first_and_every_leading_span(rows):
    units = unit_rows(rows)
    made = gram_schmidt(cosines_between(rows)) @ units
    assert is_orthonormal(made)
    torch.testing.assert_close(made[0], units[0])
    for count in range(1, len(rows) + 1):
        assert spans_the_same(made[:count], rows[:count])
    # QR is the same set up to signs; ours point the way of the vectors they come from.
    q, _ = torch.linalg.qr(units.T)
    torch.testing.assert_close(made.abs(), q.T.abs(), atol=1e-8, rtol=1e-6)
    assert ((made * units).sum(1) > 0).all()


@settings(deadline=None)
@given(overlapping(), st.randoms(use_true_random=False))
def test_the_symmetric_set_has_no_order(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    made = symmetric(cosines_between(rows)) @ unit_rows(rows)
    assert is_orthonormal(made)
    assert spans_the_same(made, rows)
    shuffled = symmetric(cosines_between(rows[order])) @ unit_rows(rows[order])
    torch.testing.assert_close(shuffled, made[order], atol=1e-9, rtol=1e-9)


@settings(deadline=None)
@given(overlapping(), st.integers(0, 2**31))
def test_the_symmetric_set_is_the_nearest(rows, seed):
    units = unit_rows(rows)
    made = symmetric(cosines_between(rows)) @ units
    # The polar factor, by another road.
    left, _, right = torch.linalg.svd(units, full_matrices=False)
    torch.testing.assert_close(made, left @ right, atol=1e-8, rtol=1e-6)
    generator = torch.Generator().manual_seed(seed)
    distance = float((made - units).norm())
    others = [gram_schmidt(cosines_between(rows)) @ units]
    for size in (1e-3, 0.1, 10.0):
        draw = torch.randn(len(rows), len(rows), generator=generator, dtype=torch.float64) * size
        others.append(torch.linalg.matrix_exp(draw - draw.T) @ made)
    for other in others:
        assert is_orthonormal(other)
        assert float((other - units).norm()) >= distance - 1e-9


@pytest.mark.parametrize("make", [gram_schmidt, symmetric])
def test_dependent_vectors_are_named(make):
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows[3] = 2 * rows[0] - rows[2]
    assert dependent(cosines_between(rows)) == [0, 2, 3]
    assert dependent(cosines_between(rows[:3])) == []
    with pytest.raises(InputError, match="expected independent vectors, got dependent ones: 0, 2, 3"):
        make(cosines_between(rows))


def test_cosines_are_symmetric_with_ones_between_themselves():
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    found = cosines_between(rows)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(found[0, 1], torch.cosine_similarity(rows[0].double(), rows[1].double(), dim=0))
    with pytest.raises(InputError, match="positive, finite length"):
        cosines_between(torch.zeros(2, 3))


def effects_of(rows, lengths):
    """Return the matrix of effects: what coefficient 1 of each does to each axis, in its own coefficients."""
    return cosines_between(rows) * lengths / lengths[:, None]


@settings(deadline=None)
@given(overlapping(), st.integers(0, 2**31))
def test_coefficients_reach_what_they_are_asked_for(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    lengths = torch.empty(len(rows), dtype=torch.float64).uniform_(0.1, 10, generator=generator)
    found = reaching(cosines_between(rows), lengths, targets)
    vector = (found * lengths) @ unit_rows(rows)
    torch.testing.assert_close(unit_rows(rows) @ vector / lengths, targets, atol=1e-8, rtol=1e-8)
    expected, *_ = np.linalg.lstsq(effects_of(rows, lengths).numpy(), targets.numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


@settings(deadline=None)
@given(overlapping(), st.integers(0, 2**31))
def test_of_dependent_vectors_it_is_the_least_squares_of_numpy(rows, seed):
    targets = torch.randn(len(rows) + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = torch.cat([unit_rows(rows), (unit_rows(rows)[0] - unit_rows(rows)[1])[None]])
    lengths = torch.full((len(rows),), 2.0, dtype=torch.float64)
    found = reaching(cosines_between(rows), lengths, targets)
    expected, *_ = np.linalg.lstsq(effects_of(rows, lengths).numpy(), targets.numpy(), rcond=1e-6 / len(rows))
    matrix = effects_of(rows, lengths)
    reached, best = (float((matrix @ each - targets).norm()) for each in (found, torch.from_numpy(expected)))
    assert reached == pytest.approx(best, rel=1e-6, abs=1e-9)
    # Where lengths are equal, the least sum of squares of coefficients as well.
    assert float(found.norm()) == pytest.approx(float(np.linalg.norm(expected)), rel=1e-5)


@settings(deadline=None)
@given(overlapping(), st.integers(0, 2**31), st.floats(0.01, 0.9))
def test_a_bound_is_kept_and_nothing_within_it_is_nearer(rows, seed, share):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    lengths = torch.empty(len(rows), dtype=torch.float64).uniform_(0.5, 2, generator=generator)
    cosines, units = cosines_between(rows), unit_rows(rows)

    def vector_of(coefficients):
        return (coefficients * lengths) @ units

    def missed(vector):
        return float((units @ vector / lengths - targets).norm())

    free = float(vector_of(reaching(cosines, lengths, targets)).norm())
    bound = share * free
    best = vector_of(reaching(cosines, lengths, targets, bound))
    assert float(best.norm()) == pytest.approx(bound, rel=1e-9)
    for size in (1e-3, 0.1, 1.0):
        step = torch.randn(len(rows), generator=generator, dtype=torch.float64) @ units
        other = best + size * bound * step / step.norm()
        other = other * min(1.0, bound / float(other.norm()))
        assert missed(other) >= missed(best) * (1 - 1e-9)
    loose = reaching(cosines, lengths, targets, 1.1 * free)
    torch.testing.assert_close(loose, reaching(cosines, lengths, targets))


def test_a_bound_of_nothing_is_refused():
    ones = torch.ones(2, dtype=torch.float64)
    with pytest.raises(InputError, match="expected a length above 0 as the bound, got 0"):
        reaching(torch.eye(2, dtype=torch.float64), ones, ones, 0.0)
