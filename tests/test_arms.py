"""Arms and controls: all of them by default, each of equal norm, each different from the steered one."""

import pytest
import torch

from steersman.activations import Activations
from steersman.arms import Controls, comparison, negated_plan, permuted_plan, random_plan
from steersman.edits import Ablate, AddKeepingNorm, Clamp, Rotate
from steersman.errors import InputError
from steersman.gates import Gate
from steersman.maths.geometry import cosine, length
from steersman.methods import LAT, MeanDifference, PCACenter, PCADiff
from steersman.methods.shuffling import shuffle_labels
from steersman.plan import Plan
from steersman.tasks import ARM_WORDS
from steersman.where import Site
from tiny import direction, origin

SITES = (Site(0), Site(3))


def pairs(n):
    """Return activations of pairs that differ along another axis at each of two sites."""
    draw = torch.Generator().manual_seed(n)
    sides = [
        {site: torch.randn(n, 32, generator=draw) + sign * torch.eye(32)[site.layer] for site in SITES}
        for sign in (1.5, -1.5)
    ]
    return Activations(*sides, dict.fromkeys(SITES, 5.0), origin(n=n))


ACTS = pairs(20)
FITTED = MeanDifference().fit(ACTS)
DRAWN = ("random", "permuted", "negated", "shuffled")
SOURCES = {
    "one site": FITTED.at(SITES[0]),
    "two sites": FITTED,
    "plan": Plan(FITTED, coefficient=0.5),
    "plan keeping norm": Plan(FITTED.at(SITES[0]), AddKeepingNorm(), span="generated", unit="raw"),
    "clamp": Plan(FITTED.at(SITES[1]), Clamp(0.5, "above")),
    "gated": Plan(FITTED.at(SITES[1]), gate=Gate(SITES[0], torch.ones(32), 0.5)),
}


def full(source, grid=(0.25, 0.5), **how):
    return comparison(source, grid, system="Refuse.", activations=ACTS, method=MeanDifference(), **how)


@pytest.mark.parametrize("name", SOURCES)
def test_every_arm_is_there_by_default(name):
    found = full(SOURCES[name])
    assert [s.arm for s in found.settings] == [
        "unsteered", "steered", "steered", "random", "random", "random", "permuted", "negated", "shuffled", "prompt",
        "prompt+steered",
    ]  # fmt: skip
    assert set(ARM_WORDS) == {s.arm for s in found.settings}
    assert found.notes == ()
    assert len({s.digest() for s in found.settings}) == len(found.settings)
    assert [s.seed for s in found.settings] == [None] * 3 + [1, 2, 3, 1, None, 1, None, None]
    assert {(s.site, s.coefficient, s.unit) for s in found.settings if s.arm in DRAWN} == {
        (found.settings[2].site, 0.5, found.settings[2].unit)
    }


@pytest.mark.parametrize("name", SOURCES)
def test_every_control_has_the_norm_and_all_else_of_the_steered_one(name):
    found = full(SOURCES[name])
    steered = found.settings[2].plan
    controls = [s for s in found.settings if s.arm in DRAWN]
    assert len(controls) == 6
    for control in controls:
        for step, other in zip(steered, control.plan, strict=True):
            assert length(other.vector) == pytest.approx(length(step.vector), rel=1e-5)
            assert (other.site, other.edit, other.span, other.unit, other.gate) == (
                step.site, step.edit, step.span, step.unit, step.gate,
            )  # fmt: skip
            assert abs(other.coefficient) == step.coefficient
            if control.arm != "negated":
                assert other.coefficient == step.coefficient
                assert cosine(other.vector, step.vector) < 0.9
            assert other.coefficient * other.vector @ step.vector < 0.9 * step.coefficient * step.vector @ step.vector


def test_controls_stand_where_they_are_told_to():
    found = full(SOURCES["one site"], (0.1, 0.4, -0.3), at=0.1)
    assert {s.coefficient for s in found.settings if s.arm in (*DRAWN, "prompt+steered")} == {0.1}
    assert [s.coefficient for s in found.settings if s.arm == "steered"] == [-0.3, 0.1, 0.4]
    with pytest.raises(InputError, match=r"the controls at a coefficient of the grid other than 0, got 0\.2"):
        full(SOURCES["one site"], at=0.2)


def test_a_negated_addition_is_the_grids_own_opposite():
    found = full(SOURCES["one site"], (-0.4, 0.4), at=0.4)
    (negated,) = (s for s in found.settings if s.arm == "negated")
    assert negated.digest() == found.settings[1].digest()  # the store computes it once


@pytest.mark.parametrize("arm", [*DRAWN, "prompt", "prompt+steered"])
def test_each_control_can_be_switched_off(arm):
    found = full(SOURCES["one site"], controls=Controls().without(arm))
    assert {s.arm for s in found.settings} == set(ARM_WORDS) - {arm}
    assert found.notes == ()


def test_all_controls_can_be_switched_off():
    found = full(SOURCES["one site"], controls=Controls().without("all"))
    assert [s.arm for s in found.settings] == ["unsteered", "steered", "steered"]
    with pytest.raises(InputError, match=r"controls among random, .*, prompt\+steered, all, got steered"):
        Controls().without("steered")
    with pytest.raises(InputError, match="random directions of at least 0, got -1"):
        Controls(random=-1)


def test_what_is_left_out_is_said():
    ablation = comparison(Plan(FITTED, Ablate()), [1.0])
    assert ablation.notes == (
        "no negated control: ablation does the same along a vector and its opposite",
        "no shuffled-label control: it needs the pairs the direction was fitted on (--pairs)",
        "no prompt arm: no system prompt was given (--prompt-arm)",
    )
    assert [s.arm for s in ablation.settings] == ["unsteered", "steered", *["random"] * 3, "permuted"]
    assert [s.arm for s in comparison(FITTED, [0.0], system="Refuse.").settings] == ["unsteered", "prompt"]


def test_a_plan_is_turned_round_where_turning_does_anything():
    mixed = Plan(FITTED.at(SITES[0]), Ablate()) + Plan(FITTED.at(SITES[1]), coefficient=0.5)
    turned = negated_plan(mixed)
    assert [step.coefficient for step in turned] == [1.0, -0.5]
    assert isinstance(negated_plan(Plan(FITTED, Clamp(0.0))), str)
    (step,) = negated_plan(Plan(FITTED.at(SITES[0]), Clamp(0.3)))
    assert (step.coefficient, torch.equal(step.vector, -Plan(FITTED.at(SITES[0])).steps[0].vector)) == (1.0, True)


def test_one_direction_at_many_sites_has_one_control_at_all_of_them():
    everywhere = FITTED.at(SITES[0]).everywhere()
    found = full(everywhere, shuffled=MeanDifference().fit(ACTS).at(SITES[1]))
    assert [s.arm for s in found.settings].count("shuffled") == 1
    for setting in found.settings:
        first = next(iter(setting.plan), None)
        assert all(torch.allclose(step.vector, first.vector) for step in setting.plan)
    assert "give it at the single site it was read at" in full(everywhere).notes[0]


def test_controls_of_a_plane_keep_its_angle_or_draw_both():
    plan = Plan(direction(1), Rotate(60), second=direction(2))
    (before,), (permuted,), (drawn,) = plan, permuted_plan(plan, 1), random_plan(plan, 1)
    assert cosine(permuted.vector, permuted.second) == pytest.approx(cosine(before.vector, before.second), abs=1e-6)
    assert length(drawn.second) == pytest.approx(length(before.second), rel=1e-5)
    assert "holds several directions at resid_post.1" in full(plan).notes[0]


def test_a_shuffled_direction_of_other_sites_is_said():
    other = direction(3, [0, 1])
    found = full(FITTED.at(SITES[1]), shuffled=other)
    (note,) = found.notes
    assert note.startswith("no shuffled-label control: the shuffled direction holds no vector for resid_post.3; where")
    with_reason = comparison(FITTED, [1.0], activations=pairs(1), method=MeanDifference())
    assert "no shuffled-label control: expected at least 2 pairs" in with_reason.notes[0]


def test_permuted_coordinates_are_the_same_numbers_and_seeded_by_site():
    made = direction(1, [0, 1])
    one, again, other = made.permuted(1), made.permuted(1), made.permuted(2)
    for site in made.sites:
        assert torch.equal(one.vectors[site].sort().values, made.vectors[site].sort().values)
        assert torch.equal(one.vectors[site], again.vectors[site])
        assert not torch.equal(one.vectors[site], other.vectors[site])
        assert not torch.equal(one.vectors[site], made.vectors[site])
    same = dict.fromkeys(made.sites, made.vectors[Site(0)])
    orders = [type(made)(same, made.norms, made.origin, "made up").permuted(1).vectors[site] for site in made.sites]
    assert not torch.equal(*orders)
    assert (one.norms, one.method) == (made.norms, "coordinates permuted, seed 1")


@pytest.mark.parametrize("method", [PCACenter(), PCADiff(), LAT(), LAT(pairing="random")])
def test_a_method_that_finds_the_same_axis_whatever_the_labels_has_no_shuffled_control(method):
    """Scaled to the vector's length, what PCA finds in shuffled pairs would be the true axis: no control at all."""
    fitted = MeanDifference().fit(ACTS)
    if method != LAT(pairing="random"):  # whose axis depends on the partners as well
        shuffled = method.fit(shuffle_labels(ACTS, 1)).vectors[SITES[0]]
        assert abs(cosine(shuffled, fitted.vectors[SITES[0]])) > 0.8
    found = comparison(fitted, [0.3], activations=ACTS, method=method)
    assert "shuffled" not in [s.arm for s in found.settings]
    assert f"no shuffled-label control: {type(method).__name__} takes its axis from how the two sides" in found.notes[0]


def test_of_two_opposite_strengths_the_controls_stand_at_the_positive_one():
    found = full(FITTED, grid=(-0.5, 0.5, 0.25))
    assert {s.coefficient for s in found.settings if s.arm in DRAWN} == {0.5}
