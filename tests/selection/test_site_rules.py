"""Rules for a site on made-up figures: who is dropped and why, who is taken, and what a budget buys at each."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.selection import (
    Budget,
    Candidate,
    CausalLimits,
    Dose,
    at_budget,
    at_depth,
    best_auroc,
    best_within,
    choose_causal,
    choose_site,
    largest_norm,
)
from steersman.where import Site

LAYERS = 30


def causal(layer, bypass, induce=1.0, kl=0.05, position=-1):
    figures = {"bypass": bypass, "induce": induce}
    return Candidate(Site(layer, "resid_pre"), -bypass, {"kl": kl}, figures, position)


def plain_rule(candidates, layers, kl=0.1, induce=0.0, depth=0.8):
    """The rule as the paper words it, over `(layer, position)`; `None` where nothing is left."""
    left = [
        (each.figures["bypass"], each.position, each.site.layer)
        for each in candidates
        if not any(math.isnan(value) for value in (*each.figures.values(), each.costs["kl"]))
        and each.site.layer < int(depth * layers)
        and each.costs["kl"] <= kl
        and each.figures["induce"] >= induce
    ]
    return min(left)[:0:-1] if left else None


FIGURES = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0, math.nan])
CAUSAL = st.lists(
    st.builds(
        causal,
        layer=st.integers(0, 9),
        bypass=FIGURES,
        induce=FIGURES,
        kl=st.sampled_from([0.0, 0.05, 0.1, 0.11, 3.0, math.nan]),
        position=st.integers(-3, -1),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda each: (each.site, each.position),
)


@given(CAUSAL, st.randoms(use_true_random=False))
def test_the_causal_rule_is_the_papers_whatever_the_order(candidates, order):
    choice = choose_causal(candidates, 10)
    expected = plain_rule(candidates, 10)
    if expected is None:
        assert (choice.status, choice.chosen) == ("all dropped", None)
        assert choice.nearest
        assert all(each.dropped for each in choice.judged)
    else:
        assert (choice.best.site.layer, choice.best.position) == expected
        assert choice.status == "chosen"
    shuffled = list(candidates)
    order.shuffle(shuffled)
    again = choose_causal(shuffled, 10)
    assert (again.reason, [str(each.candidate) for each in again.judged]) == (
        choice.reason,
        [str(each.candidate) for each in choice.judged],
    )


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (causal(24, -9.0), "layer 24 is among the last, from 24 of 30 on"),
        (causal(10, -9.0, kl=0.2), "KL 0.2 above 0.1 nats"),
        (causal(10, -9.0, induce=-0.5), "induce -0.50 below 0 nats"),
        (causal(10, math.nan), "a figure is not a number"),
        (causal(10, -9.0, induce=math.nan), "a figure is not a number"),
        (causal(10, -9.0, kl=math.nan), "a figure is not a number"),
    ],
)
def test_each_reason_to_drop_a_candidate(candidate, reason):
    kept = causal(12, 3.0)
    choice = choose_causal([candidate, kept], LAYERS)
    assert choice.best is kept
    (out,) = (each for each in choice.judged if each.candidate is candidate)
    assert out.dropped == (reason,)
    alone = choose_causal([candidate], LAYERS)
    assert alone.status == "all dropped"
    assert reason in alone.reason
    with pytest.raises(InputError, match="expected a site to be chosen, got none: no site: all 1 candidates"):
        _ = alone.site


def test_at_the_limit_a_candidate_stays():
    edge = causal(23, -1.0, induce=0.0, kl=0.1)
    assert choose_causal([edge], LAYERS).best is edge


def test_the_limits_are_parameters():
    late, wide, shy = causal(28, -5.0), causal(3, -4.0, kl=0.5), causal(4, -3.0, induce=-2.0)
    usual = causal(5, -1.0)
    every = [late, wide, shy, usual]
    assert choose_causal(every, LAYERS).best is usual
    assert choose_causal(every, LAYERS, CausalLimits(depth=1.0)).best is late
    assert choose_causal(every, LAYERS, CausalLimits(kl=1.0)).best is wide
    assert choose_causal(every, LAYERS, CausalLimits(induce=-3.0)).best is shy
    for limits in ({"depth": 0.0}, {"depth": 1.1}, {"kl": -0.1}, {"kl": math.nan}, {"induce": math.nan}):
        with pytest.raises(InputError, match="expected a"):
            CausalLimits(**limits)


def test_the_reason_gives_the_rule_and_its_figures():
    chosen = Candidate(
        Site(9, "resid_pre"), 5.0, {"kl": 0.031}, {"bypass": -4.0, "induce": 2.5, "bypass_before": 1.0}, -2
    )
    choice = choose_causal([chosen, causal(25, -9.0)], LAYERS)
    assert choice.reason == (
        "resid_pre.9 of token -2: the lowest refusal log-odds under ablation, bypass -4.00 (from +1.00), induce +2.50, "
        "KL 0.031 nats; 1 of 2 candidates in the running"
    )


def test_the_nearest_misses_break_fewest_limits_by_least():
    far, near, middle = causal(27, 0.0, induce=-1.0), causal(3, 0.0, kl=0.11), causal(4, 0.0, kl=0.4)
    broken = Candidate(Site(2), 0.0, {"kl": 0.0}, {"bypass": 0.0, "induce": 1.0}, -1, flaws=("no direction there",))
    choice = choose_causal([broken, far, middle, near], LAYERS)
    assert [each.candidate for each in choice.nearest] == [near, middle, far]
    assert choice.reason.startswith("no site: all 4 candidates were dropped; nearest: resid_pre.3 of token -1 (KL 0.11")


def test_the_profile_is_plain_data_with_every_candidate():
    choice = choose_causal([causal(9, -1.0), causal(3, math.nan), causal(29, 2.0, kl=0.3)], LAYERS)
    rows = json.loads(json.dumps(choice.profile, allow_nan=False))
    assert [row["layer"] for row in rows] == [3, 9, 29]
    assert [row["chosen"] for row in rows] == [False, True, False]
    assert rows[0]["bypass"] is None
    assert (rows[2]["kl"], len(rows[2]["dropped"])) == (0.3, 2)


def test_figures_that_nobody_measured_are_an_error():
    with pytest.raises(InputError, match="expected the figures bypass and induce and the cost kl of every candidate"):
        choose_causal([Candidate(Site(1), 1.0, {"kl": 0.1})], LAYERS)
    for choose in (lambda: choose_causal([], LAYERS), lambda: choose_site([], Budget({"kl": 1}))):
        with pytest.raises(InputError, match="at least one candidate to choose a site from, got none"):
            choose()


# Under a budget.

COSTS = st.sampled_from([-0.1, 0.0, 0.2, 0.5, 0.51, 2.0])
CANDIDATES = st.lists(
    st.builds(
        lambda layer, effect, kl, rate: Candidate(Site(layer), effect, {"kl": kl, "over-refusal": rate}),
        st.integers(0, 12),
        st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
        COSTS,
        COSTS,
    ),
    min_size=1,
    unique_by=lambda each: each.site,
)


@given(CANDIDATES, st.sampled_from([0.0, 0.3]), st.randoms(use_true_random=False))
def test_the_largest_effect_less_its_cost_within_the_budget(candidates, weight, order):
    budget = Budget({"kl": 0.5})
    choice = choose_site(candidates, budget, weights={"over-refusal": weight})
    within = [each for each in candidates if each.costs["kl"] <= 0.5]
    if within:
        merits = [each.effect - weight * each.costs["over-refusal"] for each in within]
        assert choice.best in within
        assert choice.chosen is not None
        assert choice.chosen.merit == max(merits)
    else:
        assert choice.status == "all dropped"
        assert choice.nearest[0].candidate.costs["kl"] == min(each.costs["kl"] for each in candidates)
    order.shuffle(candidates)
    assert choose_site(candidates, budget, weights={"over-refusal": weight}).reason == choice.reason


def test_of_equal_effects_the_cheaper_then_the_earlier_is_taken():
    dear, cheap, late = (Candidate(Site(i), 1.0, {"kl": kl}) for i, kl in ((2, 0.4), (5, 0.1), (7, 0.1)))
    choice = choose_site([dear, late, cheap], Budget({"kl": 0.5}), measure="refusal log-odds (nats)")
    assert choice.ranked == (cheap, late, dear)
    assert choice.reason == (
        "resid_post.5: the largest refusal log-odds (nats) within kl at most 0.5 nats per token, effect +1 at kl 0.1; "
        "3 of 3 candidates in the running"
    )


def test_an_effect_that_is_no_number_is_dropped_and_a_cost_nobody_measured_is_an_error():
    sound, broken = Candidate(Site(1), 0.1, {"kl": 0.1}), Candidate(Site(2), math.nan, {"kl": 0.1})
    choice = choose_site([broken, sound], Budget({"kl": 0.5}))
    assert choice.best is sound
    assert choice.judged[1].dropped == ("the effect less the cost is not a finite number",)
    with pytest.raises(InputError, match="every cost in the budget, got none of knowledge"):
        choose_site([sound], Budget({"knowledge": 1}))
    with pytest.raises(InputError, match=r"every weighted cost to be measured, got no knowledge at resid_post\.1"):
        choose_site([sound], Budget({"kl": 1}), weights={"knowledge": 0.1})


# At equal cost.

SITE = Candidate(Site(3), math.nan)


def doses(effect, cost, coefficients=(0.1, 0.2, 0.4, 0.8)):
    return [Dose(c, effect(c), {"kl": cost(c)}) for c in coefficients]


@given(st.floats(0.5, 20), st.floats(0.1, 5), st.floats(0.01, 0.5), st.sampled_from([1, -1]))
def test_a_line_and_a_square_are_interpolated_exactly(curvature, slope, limit, sign):
    """Near zero an effect is a line and a KL a square; then the crossing is where algebra says."""
    crossing = (limit / curvature) ** 0.5
    held = doses(lambda c: sign * slope * c, lambda c: curvature * c * c, [sign * c for c in (0.1, 0.2, 0.4, 0.8)])
    random.Random(0).shuffle(held)
    found = at_budget(SITE, held, Budget({"kl": limit}))
    if crossing <= 0.8:
        assert found.coefficient == pytest.approx(sign * crossing)
        assert found.effect == pytest.approx(slope * crossing)
        assert found.costs["kl"] == pytest.approx(limit)
        assert found.figures["spent"] == pytest.approx(1)
    else:
        assert found.coefficient == sign * 0.8
        assert found.figures["spent"] == pytest.approx(curvature * 0.64 / limit)
    assert Budget({"kl": limit}).within(found.costs)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 1), st.floats(0, 30)), min_size=1, max_size=5), st.data())
def test_what_comes_out_keeps_the_budget_and_more_budget_allows_no_less(rows, data):
    held = [Dose(0.1 * (i + 1), effect, {"kl": kl, "knowledge": loss}) for i, (effect, kl, loss) in enumerate(rows)]
    small = Budget({"kl": data.draw(st.floats(0, 0.5)), "knowledge": 2.0})
    large = Budget({"kl": small.limits["kl"] + 0.3, "knowledge": 4.0})
    coefficients = [at_budget(SITE, held, budget).coefficient or 0.0 for budget in (small, large)]
    assert coefficients == sorted(coefficients)
    assert best_within(SITE, held, small).effect <= best_within(SITE, held, large).effect
    for choose in (at_budget, best_within):
        assert small.within(choose(SITE, held, small).costs)
    assert best_within(SITE, held, small).effect >= max(0.0, at_budget(SITE, held, small).effect)


def test_the_first_crossing_counts():
    """A model that has broken may cost less again; nobody can afford to get there."""
    held = [Dose(0.1, 1.0, {"kl": 0.25}), Dose(0.2, 5.0, {"kl": 4.0}), Dose(0.3, 9.0, {"kl": 0.25})]
    found = at_budget(SITE, held, Budget({"kl": 1.0}))
    assert found.coefficient == pytest.approx(0.1 + 0.1 / 3)
    assert found.effect == pytest.approx(1 + 4 / 3)


def test_a_gentler_dose_may_do_more_than_the_budget_buys():
    held = [Dose(0.1, 3.0, {"kl": 0.1}), Dose(0.2, -1.0, {"kl": 0.4})]
    assert best_within(SITE, held, Budget({"kl": 0.4})).coefficient == 0.1
    assert at_budget(SITE, held, Budget({"kl": 0.4})).coefficient == 0.2
    nothing = best_within(SITE, [Dose(0.1, -3.0, {"kl": 0.1})], Budget({"kl": 0.4}))
    assert (nothing.coefficient, nothing.effect) == (0.0, 0.0)


def test_at_one_coefficient_the_larger_dose_wins_and_at_equal_cost_the_better_site():
    """Two sites, one grid: the late one does more because it costs more; per nat the early one is better."""
    budget = Budget({"kl": 0.2})
    early, late = Candidate(Site(4), math.nan), Candidate(Site(9), math.nan)
    curves = [
        (early, doses(lambda c: 4 * c, lambda c: 0.5 * c * c)),
        (late, doses(lambda c: 6 * c, lambda c: 3 * c * c)),
    ]
    at_one = [Candidate(site.site, held[1].effect, held[1].costs) for site, held in curves]
    assert choose_site(at_one, budget).site == late.site
    assert choose_site([at_budget(site, held, budget) for site, held in curves], budget).site == early.site


def test_a_cost_that_is_no_number_is_not_reached():
    held = [Dose(0.1, 1.0, {"kl": 0.1}), Dose(0.2, 2.0, {"kl": math.nan})]
    assert at_budget(SITE, held, Budget({"kl": 1.0})).coefficient == 0.1
    assert at_budget(SITE, held[1:], Budget({"kl": 1.0})).coefficient == 0.0


@pytest.mark.parametrize("coefficients", [[], [0.0, 0.1], [0.1, 0.1], [-0.1, 0.1]])
def test_doses_of_no_one_site_are_refused(coefficients):
    with pytest.raises(InputError, match="doses of one sign, none of them 0 and none twice"):
        at_budget(SITE, doses(lambda c: c, lambda c: c, coefficients), Budget({"kl": 1.0}))


# The baselines.


def made(lengths, separation=None, depth=10):
    vectors = {Site(layer): value * tiny.direction(layer).vectors[Site(1)] for layer, value in lengths.items()}
    diagnostics = {} if separation is None else {"separation": {Site(layer): v for layer, v in separation.items()}}
    units = {site: vector / vector.norm() * lengths[site.layer] for site, vector in vectors.items()}
    return Direction(units, dict.fromkeys(units, 5.0), tiny.origin(depth=depth), "made up", diagnostics)


def test_the_longest_vector_is_the_baseline_of_norms():
    choice = largest_norm(made({1: 1.0, 5: 4.0, 9: 7.5}))
    assert choice.site == Site(9)
    assert [round(row["merit"], 3) for row in choice.profile] == [1.0, 4.0, 7.5]
    assert choice.reason.startswith("resid_post.9: the largest length of the raw vector, 7.5; 3 of 3")


@pytest.mark.parametrize(("share", "layer"), [(0.4, 3), (0.0, 1), (1.0, 9), (0.6, 5)])
def test_a_share_of_the_depth_takes_the_nearest_layer_that_is_held(share, layer):
    assert at_depth(made({1: 1.0, 3: 1.0, 5: 1.0, 9: 1.0}), share).site == Site(layer)


def test_the_best_probe_is_the_first_of_equals():
    separation = {1: 0.7, 5: 1.0, 9: 1.0}
    assert best_auroc(made(dict.fromkeys(separation, 1.0), separation)).site == Site(5)


def test_baselines_say_what_they_lack():
    with pytest.raises(InputError, match=r"diagnostic separation at every site, got none at resid_post\.5"):
        best_auroc(made({1: 1.0, 5: 1.0}, {1: 0.7}))
    with pytest.raises(InputError, match=r"share of the depth from 0 to 1, got 1\.2"):
        at_depth(made({1: 1.0}), 1.2)


def test_without_a_budget_the_largest_effect_is_taken_whatever_it_costs():
    held = [Candidate(Site(layer), effect, {"kl": 9.0 * layer}) for layer, effect in ((1, 2.0), (2, 3.0), (3, 1.0))]
    choice = choose_site(held, measure="points")
    assert [each.site.layer for each in choice.ranked] == [2, 1, 3]
    assert choice.rule == "effect"
    assert choice.reason == "resid_post.2: the largest points, effect +3 at kl 18; 3 of 3 candidates in the running"
    costless = choose_site([Candidate(Site(1), 2.0)], measure="points")
    assert costless.reason.endswith("effect +2; 1 of 1 candidates in the running")
