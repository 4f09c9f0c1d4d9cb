"""Stored and summed samples agree; leading axes, shrinkage and whitening by their definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.geometry import auroc, massive_share
from steersman.maths.samples import Stored, Summed
from steersman.maths.shrinkage import ledoit_wolf, whiten
from steersman.maths.spectrum import DENSE, leading_axis, leading_eigenvector

seeds = st.integers(0, 10_000)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summed(rows, parts=3, second=True):
    sums = Summed(rows.shape[1], second)
    for part in rows.chunk(parts):
        sums.add(part)
    return sums


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(2, 20), st.integers(1, 9))
def test_sums_give_what_rows_give(seed, n, parts):
    rows = draw(seed, n, 7) + 5
    stored, sums = Stored(rows), summed(rows, parts)
    assert sums.count == stored.count == n
    torch.testing.assert_close(sums.mean, stored.mean)
    assert sums.energy == pytest.approx(stored.energy)
    way = draw(seed + 1, 7)
    assert sums.along(way) == pytest.approx(stored.along(way))
    for centred in (True, False):
        assert abs(float(sums.axis(centred=centred) @ stored.axis(centred=centred))) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(sums.scatter, stored.centred.T @ stored.centred)
    assert sums.centred_quartic == pytest.approx(float(((stored.centred**2).sum(1) ** 2).sum()), rel=1e-6)


@pytest.mark.parametrize("second", [True, False])
def test_sums_of_parts_add_up_and_the_parts_stay(second):
    rows = draw(3, 11, 5)
    one, other, whole = summed(rows[:4], second=second), summed(rows[4:], second=second), summed(rows, second=second)
    both = one + other
    assert both.count == 11
    for name in ("total", "outer", "cubic"):
        torch.testing.assert_close(getattr(both, name), getattr(whole, name))
    assert both.square == pytest.approx(whole.square)
    assert both.quartic == pytest.approx(whole.quartic)
    both.add(rows)
    assert one.count == 4
    torch.testing.assert_close(one.mean, rows[:4].mean(0))


def test_means_alone_have_no_axis():
    sums = summed(draw(0, 6, 4), second=False)
    assert not sums.has_second
    for ask in (lambda: sums.axis(centred=True), lambda: sums.axis(centred=False), lambda: sums.along(torch.ones(4))):
        with pytest.raises(InputError, match="second=True"):
            ask()


def test_no_rows_have_no_mean():
    with pytest.raises(InputError, match="at least one row"):
        _ = Summed(3).mean


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([(30, 6), (4, 12), (6, 6), (1, 5)]), st.floats(1e-6, 1e6))
def test_the_leading_axis_holds_more_energy_than_any_other(seed, shape, scale):
    rows = scale * draw(seed, *shape)
    axis = leading_axis(rows)
    assert float(axis.norm()) == pytest.approx(1)
    held = float(((rows @ axis) ** 2).sum())
    assert held == pytest.approx(float(torch.linalg.matrix_norm(rows, 2)) ** 2, rel=1e-9)


def test_wide_matrices_are_solved_by_iteration_to_the_same_axis_each_time():
    d = DENSE + 10
    rows = draw(1, 2 * d, d) * torch.linspace(0.5, 2.0, d, dtype=torch.float64)
    matrix = rows.T @ rows
    axis = leading_eigenvector(matrix)
    exact = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    assert abs(float(axis @ exact)) == pytest.approx(1, abs=1e-9)
    assert torch.equal(axis, leading_eigenvector(matrix))


def test_nothing_has_no_axis():
    with pytest.raises(InputError, match="differ from each other"):
        leading_axis(torch.zeros(3, 5, dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([(9, 6), (3, 12), (6, 12)]), st.floats(0.01, 1.0))
def test_whitening_in_either_space_is_the_formula(seed, shape, shrinkage):
    n, d = shape
    sides = [draw(seed, n, d), draw(seed + 1, n + 1, d) + 3]
    centred = torch.cat([side - side.mean(0) for side in sides])
    covariance = centred.T @ centred / len(centred)
    shrunk = (1 - shrinkage) * covariance + shrinkage * covariance.trace() / d * torch.eye(d, dtype=torch.float64)
    vector = draw(seed + 2, d)
    expected = torch.linalg.solve(shrunk, vector)
    for samples in ([Stored(side) for side in sides], [summed(side) for side in sides]):
        found = whiten(vector, samples, shrinkage)
        torch.testing.assert_close(found.vector, expected, rtol=1e-6, atol=1e-8)
        assert found.shrinkage == shrinkage


def test_shrinkage_is_a_share_and_falls_with_evidence():
    assert ledoit_wolf(10, 5, 1.0, 0.2, 0.0) == 1.0  # a multiple of the identity already
    amounts = []
    for n in (5, 50, 5_000):
        rows = draw(2, n, 8) * torch.linspace(0.2, 3.0, 8, dtype=torch.float64)
        amounts.append(whiten(torch.ones(8, dtype=torch.float64), [Stored(rows)]).shrinkage)
    assert 1 >= amounts[0] > amounts[1] > amounts[2] >= 0
    assert amounts[2] < 0.01


def test_classes_without_spread_cannot_be_whitened():
    same = Stored(torch.ones(4, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="differ within their class"):
        whiten(torch.ones(3, dtype=torch.float64), [same, same])


@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_auroc_by_rank_is_the_share_of_cross_pairs(seed, p, m):
    generator = torch.Generator().manual_seed(seed)
    positive, negative = (torch.randint(-3, 4, (n,), generator=generator).double() for n in (p, m))
    crossed = [float(a > b) + float(a == b) / 2 for a in positive for b in negative]
    assert auroc(positive, negative) == pytest.approx(sum(crossed) / len(crossed))


def test_massive_share_is_the_energy_of_the_largest_coordinates():
    vector = torch.tensor([3.0, -4.0, 1.0, 0.0])
    assert massive_share(vector) == pytest.approx(25 / 26)
    assert massive_share(vector, 1) == pytest.approx(16 / 26)
    assert massive_share(vector, 9) == pytest.approx(1)
