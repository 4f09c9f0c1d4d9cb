"""Which layer and how strongly: the rules, on planted numbers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.selection import Effect, Strength, choose_layer, choose_strength, eligible_layers

# Few values, so that ties are common.
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])
POINTS = st.lists(
    st.builds(
        Strength,
        layer=st.integers(0, 3),
        coefficient=st.sampled_from([-0.4, -0.2, 0.2, 0.4]),
        gain=SHARES,
        cost=SHARES,
        logprob=st.sampled_from([-3.0, -1.0]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda point: (point.layer, point.coefficient),
)
EFFECTS = st.lists(
    st.builds(Effect, st.integers(0, 20), st.sampled_from([-1.0, 0.0, 1.0, 2.0]), st.sampled_from([-1.0, 0.0, 1.0])),
    min_size=1,
    unique_by=lambda effect: effect.layer,
)


@given(EFFECTS, st.randoms(use_true_random=False))
def test_layers_come_by_effect_whatever_their_order(effects, order):
    choice = choose_layer(effects)
    merit = {effect.layer: (-effect.target, effect.side, effect.layer) for effect in effects}
    assert sorted(choice.ranked) == sorted(merit)
    ranked = [merit[layer] for layer in choice.ranked]
    assert ranked == sorted(ranked)
    assert choice.best == choice.ranked[0]
    shuffled = list(effects)
    order.shuffle(shuffled)
    assert choose_layer(shuffled) == choice


def test_the_wanted_effect_decides_and_the_side_effect_only_between_equals():
    weak, wide, narrow = Effect(1, 1.0, -9.0), Effect(2, 3.0, 2.0), Effect(3, 3.0, 0.5)
    choice = choose_layer([weak, wide, narrow])
    assert choice.ranked == (3, 2, 1)
    for figure in ("layer 3", "+3.00", "+0.50", "3 layers"):
        assert figure in choice.reason


def test_no_layer_is_an_error():
    with pytest.raises(InputError, match="at least one layer, got none"):
        choose_layer([])
    with pytest.raises(InputError, match=r"between depths 0\.5 and 0\.5 of 4 layers, got none"):
        eligible_layers(4, 0.5, 0.5)


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1), st.integers(1, 5))
def test_eligible_layers_lie_between_the_depths(depth, low, high, stride):
    wanted = [layer for layer in range(depth) if low * depth <= layer and layer + 1 <= high * depth]
    if wanted:
        assert eligible_layers(depth, low, high) == wanted
        assert eligible_layers(depth, low, high, stride) == [layer for i, layer in enumerate(wanted) if i % stride == 0]
    else:
        with pytest.raises(InputError, match="at least one layer"):
            eligible_layers(depth, low, high)


@given(POINTS, SHARES, st.randoms(use_true_random=False))
def test_the_strongest_choice_within_the_budget_whatever_the_order(points, budget, order):
    choice = choose_strength(points, budget=budget, floor=-2.0)
    within = [point for point in points if point.cost <= budget and point.logprob >= -2.0]
    if within:
        assert choice.status == "within budget"
        assert choice.best in within
        assert choice.best.gain - choice.best.cost == max(point.gain - point.cost for point in within)
    else:
        assert choice.status == "over budget"
        assert choice.best.cost == min(point.cost for point in points)
    shuffled = list(points)
    order.shuffle(shuffled)
    assert choose_strength(shuffled, budget=budget, floor=-2.0) == choice


@given(POINTS)
def test_a_wider_budget_never_gains_less(points):
    nets = []
    for budget in (0.0, 0.1, 0.25, 0.5, 1.0):
        choice = choose_strength(points, budget=budget, floor=-5.0)
        if choice.status == "within budget":
            nets.append(choice.best.gain - choice.best.cost)
    assert nets == sorted(nets)
    assert choose_strength(points, budget=1.0, floor=-5.0).status == "within budget"


def test_ties_go_to_the_gentler_then_to_the_lower_layer():
    points = [Strength(layer, c, 0.5, 0.1, -1.0) for layer in (3, 1, 2) for c in (0.4, -0.2, 0.2)]
    random.Random(0).shuffle(points)
    assert choose_strength(points, budget=0.1, floor=-2.0).best == Strength(1, 0.2, 0.5, 0.1, -1.0)
    assert choose_strength(points, budget=0.0, floor=-2.0).best == Strength(1, 0.2, 0.5, 0.1, -1.0)


def test_over_budget_takes_the_least_costly_and_says_so():
    points = [Strength(1, 0.5, 0.9, 0.4, -1.0), Strength(2, 0.3, 0.5, 0.2, -1.0), Strength(2, 0.1, 0.1, 0.2, -1.0)]
    choice = choose_strength(points, budget=0.1, floor=-2.0)
    assert choice.best == points[1]
    assert choice.reason == (
        "layer 2 at 0.3 of the residual norm (over budget): 50% gained at a cost of 20% on validation data, "
        "0 of 3 points kept the budget of 10% and -2 nats per token"
    )


def test_the_floor_shuts_out_what_fell_apart():
    points = [Strength(1, 0.8, 1.0, 0.0, -4.0), Strength(1, 0.2, 0.3, 0.0, -2.0)]
    assert choose_strength(points, budget=0.1, floor=-2.0).best == points[1]
    assert choose_strength(points, budget=0.1, floor=-4.0).best == points[0]


def test_no_point_is_an_error():
    with pytest.raises(InputError, match="at least one site and coefficient to choose from, got none"):
        choose_strength([], budget=0.1, floor=-2.0)
