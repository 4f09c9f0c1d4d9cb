"""What a ready direction does on held-out prompts: the arithmetic on a tiny model, the six on the real one."""

from dataclasses import replace

import pytest

import steersman as sm
from steersman import ready
from steersman.maths.statistics import Estimate
from steersman.range import Range
from steersman.ready.proving import Side
from steersman.where import Site
from tiny import direction, tiny_model


def side(effect: tuple[float, float, float], random: tuple[float, float, float]) -> Side:
    plain = Estimate(0.0, 0.0, 0.0, 9)
    return Side(1, 0.3, Estimate(*effect, 9), Estimate(*random, 9), plain, plain, -1.0)


@pytest.mark.parametrize(
    ("effect", "random", "shown"),
    [
        ((2.0, 1.0, 3.0), (0.0, -1.0, 1.0), True),
        ((2.0, -0.1, 3.0), (0.0, -1.0, 1.0), False),
        ((2.0, 1.0, 3.0), (1.5, 0.5, 2.5), False),
        ((-2.0, -3.0, -1.0), (0.0, -1.0, 1.0), False),
    ],
)
def test_an_effect_is_shown_above_nothing_and_above_the_random_direction(effect, random, shown):
    assert side(effect, random).shown is shown


@pytest.mark.parametrize("name", ["personal", "honesty"])
def test_both_signs_are_measured_beside_a_random_direction_on_the_same_prompts(name):
    model = tiny_model("llama", chat=True)
    up = Range(Site(2), 1, 2.0, 0.4, 0.1, 0.6, reason="made up")
    own = ready.ready_of(name, direction(1, [2]).with_ranges(up, replace(up, sign=-1, recommended=0.3)))
    told: list[tuple[int, int]] = []
    proof = ready.prove(model, own, limit=3, notify=lambda done, total: told.append((done, total)))
    assert [each.coefficient for each in proof.sides] == [0.4, -0.3]
    assert all(each.effect.n == each.random.n == 3 for each in proof.sides)
    assert told[-1][0] == told[-1][1]
    record = proof.plain()
    assert record["sides"][0]["effect"]["n"] == 3
    assert len(record["examples"]) == 3
    assert set(record["examples"][0]["completions"]) == {"0", "+0.4", "-0.3"}
    if name == "honesty":
        # Two opposite signs of one measure: what the one gains is counted the other way round for the other.
        again = ready.prove(model, replace(own, held=own.held.with_ranges(replace(up, recommended=0.3))), limit=3)
        flipped = ready.ready_of(name, sm.Direction(
            {Site(2): -own.held.vectors[Site(2)]}, own.held.norms, own.held.origin, "turned round"
        ).with_ranges(replace(up, sign=-1, recommended=0.3)))  # fmt: skip
        (turned,) = ready.prove(model, flipped, limit=3).sides
        assert turned.effect.value == pytest.approx(-again.sides[0].effect.value, abs=1e-4)


def test_a_side_without_a_recommendation_is_not_measured():
    model = tiny_model("llama", chat=True)
    up = Range(Site(2), 1, 2.0, None, 0.1, 0.6, reason="made up")
    assert ready.prove(model, ready.ready_of("personal", direction(1, [2]).with_ranges(up)), limit=2).sides == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cheerful", "formal"])
def test_on_the_default_model_the_effect_shows_on_prompts_that_nothing_was_chosen_on(name):
    model = sm.load()
    (own,) = [each for each in ready.load(model) if each.name == name]
    proof = ready.prove(model, own, limit=16)
    assert proof.sides[0].shown, proof.sides[0]
    assert proof.sides[0].least > -2.5


@pytest.mark.slow
def test_all_six_fit_the_default_model():
    model = sm.load()
    assert [each.name for each in ready.load(model)] == ready.names()
    assert ready.unfit(model) == ""
