"""Massive activations oppose the vectors of alike skills, masking them shows that they agree: on the planted model.

Nothing about vectors is planted: `benchmarks/massive.py` says what is.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from steersman.methods import MeanDifference, massive_warning
from steersman.recording import record_texts
from steersman.where import Site

PATH = Path(__file__).parents[1] / "benchmarks" / "massive.py"
TEXTS = 40


@pytest.fixture(scope="module")
def massive():
    spec = importlib.util.spec_from_file_location("massive", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def rows(massive):
    """The figures with the planted neurons, by span and layer."""
    model = massive.planted()
    found = massive.findings(model, massive.made_up(TEXTS), range(model.depth))
    return {(row.span, row.layer): row for row in found}


@pytest.fixture(scope="module")
def plain(massive):
    """The figures of the same weights as they were drawn."""
    model = massive.planted(change=False)
    found = massive.findings(model, massive.made_up(TEXTS), range(model.depth))
    return {(row.span, row.layer): row for row in found}


def behind(massive, rows, span):
    return [rows[span, layer] for layer in range(massive.PLANTED_BLOCK, massive.DEPTH)]


def test_two_coordinates_hold_most_of_the_vectors_and_oppose_them(massive, rows):
    for row in behind(massive, rows, "last"):
        assert min(row.share.values()) > 0.5
        assert row.raw < -0.5
        # They are found from the vectors as from the activations.
        assert {frozenset(row.massive), *map(frozenset, row.largest.values())} == {frozenset(massive.COORDINATES)}


def test_masked_vectors_are_aligned(massive, rows):
    for row in behind(massive, rows, "last"):
        assert row.own > 0.3
        assert row.shared == pytest.approx(row.own)


def test_it_is_the_planted_neurons_that_do_it(massive, rows, plain):
    """Before their block, and in the weights as they were drawn, the same texts' vectors are aligned all along."""
    before = rows["last", massive.PLANTED_BLOCK - 1]
    for row in (before, *plain.values()):
        assert row.raw > 0.3
        assert max(row.share.values()) < 0.3


def test_the_mean_over_tokens_weakens_it(massive, rows):
    for last, mean in zip(behind(massive, rows, "last"), behind(massive, rows, "all"), strict=True):
        assert max(mean.ratio.values()) < 0.5 * min(last.ratio.values())
        assert mean.shared > 0.3


def test_a_fit_warns_of_it_until_it_is_masked(massive):
    model, texts = massive.planted(), massive.made_up(TEXTS)
    read = record_texts(model, texts["english"], texts["python"], layers=[0, 3])
    direction = MeanDifference().fit(read)
    assert "2 coordinates hold more than 20% of the vector's energy" in massive_warning(direction)
    assert massive_warning(direction.at(0)) is None
    assert massive_warning(direction.masked(2)) is None
    assert direction.masked(2).vectors[Site(3)][list(massive.COORDINATES)].tolist() == [0.0, 0.0]
