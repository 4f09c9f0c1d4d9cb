"""The stated error rates over simulated studies, through `evaluate` and `summarise` as they are."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "simulated_studies.py"
STUDIES = 200


@pytest.fixture(scope="module")
def simulated():
    spec = importlib.util.spec_from_file_location("simulated_studies", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_null_effect_is_reported_as_null(simulated):
    counts = {count.what: count for count in simulated.null(STUDIES)}
    assert len(counts) == 6
    for what, count in counts.items():
        assert count.kept, str(count)
        if what.endswith("p as it is"):  # so the correction is needed
            assert count.times / STUDIES > 0.10, str(count)
        else:
            assert count.times / STUDIES <= 0.10, str(count)


def test_a_planted_effect_is_found_at_the_stated_power(simulated):
    counts = simulated.planted(STUDIES)
    assert len(counts) == 4
    assert all(count.kept for count in counts), "\n".join(map(str, counts))
    assert [count.expected > 0.75 for count in counts] == [True] * 4


def test_a_vector_like_the_prompt_is_not_told_from_it(simulated):
    (count,) = simulated.like_the_prompt(STUDIES)
    assert count.kept, str(count)


def test_a_promise_that_is_broken_is_seen(simulated):
    assert not simulated.Count("", 40, 200, 0.05, True).kept
    assert not simulated.Count("", 100, 200, 0.8).kept
    assert "NOT KEPT" in str(simulated.Count("", 100, 200, 0.8))
