"""Composition against the formulas of docs/composition.md, written plainly with numpy."""

import numpy
import pytest
import torch

from steersman.composition import compose, inject
from steersman.direction import Direction
from steersman.where import Site
from tiny import origin

SITE = Site(2)
NAMES = ("one", "two", "three", "four")
LENGTHS = (0.5, 3.0, 1.0, 8.0)
NUMBERS = (0.3, -0.2, 0.5, 0.1)


def rows(seed=0):
    """Return four overlapping vectors of unlike lengths, `[4, 32]` float64."""
    generator = numpy.random.default_rng(seed)
    loose = generator.standard_normal((4, 32)) + 1.5 * generator.standard_normal(32)
    return loose / numpy.linalg.norm(loose, axis=1)[:, None] * numpy.array(LENGTHS)[:, None]


def held(norms):
    """Return the vectors as directions."""
    vectors = [torch.tensor(row, dtype=torch.float32) for row in rows()]
    made = zip(NAMES, vectors, norms, strict=True)
    return {name: Direction({SITE: vector}, {SITE: norm}, origin(), "planted") for name, vector, norm in made}


def added(plan):
    """Return what a plan of additions adds at its site, `[32]`."""
    return sum((step.coefficient * step.vector.double() for step in plan), torch.zeros(32).double()).numpy()


def units():
    return rows() / numpy.linalg.norm(rows(), axis=1)[:, None]


def sizes(unit, norms):
    """Return what coefficient 1 adds of each."""
    return numpy.array(norms if unit == "norm" else LENGTHS)


def one_after_the_other():
    """Return orthonormal rows: from each vector, what lies along those before it is taken."""
    done = []
    for vector in units():
        for before in done:
            vector = vector - (vector @ before) * before
        done.append(vector / numpy.linalg.norm(vector))
    return numpy.array(done)


def nearest_orthonormal():
    """Return the orthonormal rows with the least sum of squared distances: the polar factor of the unit vectors."""
    left, _, right = numpy.linalg.svd(units(), full_matrices=False)
    return left @ right


NORMS = ((10.0, 10.0, 10.0, 10.0), (5.0, 12.0, 9.0, 20.0))
CASES = pytest.mark.parametrize(("unit", "norms"), [("norm", NORMS[0]), ("norm", NORMS[1]), ("raw", NORMS[1])])


@CASES
@pytest.mark.parametrize("way", ["sum", "mean", "gram-schmidt", "symmetric"])
def test_one_vector_with_weights(way, unit, norms):
    weights = numpy.array(NUMBERS) / (numpy.abs(NUMBERS).sum() if way == "mean" else 1)
    basis = {"gram-schmidt": one_after_the_other, "symmetric": nearest_orthonormal}.get(way, units)()
    expected = -0.4 * (weights * sizes(unit, norms)) @ basis
    found = compose(held(norms), way, weights=dict(zip(NAMES, NUMBERS, strict=True)), scale=-0.4, unit=unit)
    numpy.testing.assert_allclose(added(found.plan), expected, rtol=1e-4, atol=1e-4)
    for index, member in enumerate(found.members):
        effect = expected @ units()[index] / sizes(unit, norms)[index]
        assert member.effect == pytest.approx(effect, rel=1e-4, abs=1e-6)
        assert member.asked == pytest.approx(-0.4 * weights[index])


@CASES
def test_solve_is_least_squares(unit, norms):
    """The shortest vector that reaches the targets, and of all vectors as long as the bound the one nearest to them."""
    how = {"targets": dict(zip(NAMES, NUMBERS, strict=True)), "unit": unit}
    axes = units() / sizes(unit, norms)[:, None]  # effect on each axis of what is added
    expected, *_ = numpy.linalg.lstsq(axes, numpy.array(NUMBERS), rcond=None)
    numpy.testing.assert_allclose(added(compose(held(norms), "solve", **how).plan), expected, rtol=1e-3, atol=1e-3)
    short = 0.6 * float(numpy.linalg.norm(expected))
    bounded = compose(held(norms), "solve", most=short / float(numpy.mean(norms)), **how)
    vector = added(bounded.plan)
    assert float(numpy.linalg.norm(vector)) == pytest.approx(short, rel=1e-5)
    missed = float(numpy.linalg.norm(axes @ vector - NUMBERS))
    assert bounded.residual == pytest.approx(missed, rel=1e-4)
    # No other vector of that length misses less; a random step and back to the length never helps.
    generator = numpy.random.default_rng(1)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            other = vector + size * short * generator.standard_normal(32) / 32**0.5
            other *= short / numpy.linalg.norm(other)
            assert numpy.linalg.norm(axes @ other - NUMBERS) >= missed - 1e-6


@CASES
def test_injection_at_one_site_adds_every_vector(unit, norms):
    expected = 0.7 * (numpy.array(NUMBERS) * sizes(unit, norms)) @ units()
    found = inject(held(norms), weights=dict(zip(NAMES, NUMBERS, strict=True)), scale=0.7, unit=unit)
    numpy.testing.assert_allclose(added(found.plan), expected, rtol=1e-4, atol=1e-4)
    assert found.pushes[SITE] == pytest.approx(float(numpy.linalg.norm(expected)) / float(numpy.mean(norms)), rel=1e-4)


def test_where_all_lengths_are_equal_the_effects_are_those_of_the_table():
    """docs/composition.md: `G w`, `L w`, `G^1/2 w`, `t`."""
    cosines = units() @ units().T
    values, vectors = numpy.linalg.eigh(cosines)
    table = {
        "sum": cosines @ NUMBERS,
        "gram-schmidt": numpy.linalg.cholesky(cosines) @ NUMBERS,
        "symmetric": vectors @ numpy.diag(values**0.5) @ vectors.T @ NUMBERS,
        "solve": numpy.array(NUMBERS),
    }
    for way, expected in table.items():
        numbers = {"targets" if way == "solve" else "weights": dict(zip(NAMES, NUMBERS, strict=True))}
        found = compose(held(NORMS[0]), way, **numbers)
        numpy.testing.assert_allclose([each.effect for each in found.members], expected, rtol=1e-4, atol=1e-5)
