"""One vector of several directions: what is predicted is what its plan adds, and every way keeps its promise."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.composition import (
    WAYS,
    combined,
    compose,
    cosine_matrix,
    gram_matrix,
    inject,
    orthogonalised,
    sites_in_common,
)
from steersman.direction import Direction
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import cosine
from steersman.plan import UNITS, Plan
from steersman.range import Range
from steersman.where import Site
from tiny import direction, made_at, origin

SITE = Site(1)
NAMES = ("one", "two", "three", "four")
FEW = settings(max_examples=25, deadline=None)
"""Examples of each: there are many combinations of ways and units."""

ORTHOGONAL = ("gram-schmidt", "symmetric")


def planted(*vectors, norms=None, layer=1):
    """Return directions of stated leading coordinates at a site, named in order."""
    found = {}
    for index, (name, values) in enumerate(zip(NAMES, vectors, strict=False)):
        vector = torch.zeros(32)
        vector[: len(values)] = torch.tensor(values, dtype=torch.float32)
        norm = 10.0 if norms is None else norms[index]
        found[name] = Direction({Site(layer): vector}, {Site(layer): norm}, origin(), f"planted {name}")
    return found


@st.composite
def several(draw):
    """A seed, the size of what all have in common, and weights of any sign: of `built`, outside of the strategy."""
    count = draw(st.integers(2, 4))
    numbers = {name: draw(st.floats(0.1, 2)) * draw(st.sampled_from((1, -1))) for name in NAMES[:count]}
    return draw(st.integers(0, 2**31)), draw(st.floats(-2, 2)), numbers


def built(case):
    """Return overlapping directions of unlike lengths and residual norms, with their weights."""
    seed, size, numbers = case
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(32, generator=generator) * size
    held = {}
    for name in numbers:
        length, norm = (float(torch.empty(()).uniform_(*span, generator=generator)) for span in ((0.1, 8), (5, 15)))
        vector = (torch.randn(32, generator=generator) + common) * length
        held[name] = Direction({SITE: vector}, {SITE: norm}, origin(), "made up")
    return held, numbers


def made(held, way, numbers, **how):
    return compose(held, way, **{"targets" if way == "solve" else "weights": numbers}, **how)


def added(plan):
    """Return the `[d]` float64 vector that a plan of additions adds at its one site."""
    assert {(step.edit.name, step.site) for step in plan} == {("add", SITE)}
    return sum(step.coefficient * step.vector.double() for step in plan)


def effect(vector, one, unit):
    """Return how far a vector reaches along a direction's axis, in that direction's coefficients."""
    own = one.vectors[SITE].double()
    size = one.norms[SITE] if unit == "norm" else float(own.norm())
    return float(vector @ own / own.norm()) / size


def close(value):
    return pytest.approx(value, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("way", WAYS)
@FEW
@given(several(), st.floats(0.05, 1.5))
def test_the_prediction_is_what_the_plan_adds(way, unit, case, scale):
    held, numbers = built(case)
    found = made(held, way, numbers, unit=unit, scale=scale)
    vector = added(found.plan)
    for member, one in zip(found.members, held.values(), strict=True):
        assert member.effect == close(effect(vector, one, unit))
    # The coefficients are those of the directions as they are, whose plans add up to the same.
    parts = (Plan(held[each.name], coefficient=each.coefficient, unit=unit) for each in found.members)
    torch.testing.assert_close(added(sum(parts, Plan())), vector, rtol=1e-3, atol=1e-3)
    norm = sum(one.norms[SITE] for one in held.values()) / len(held)
    assert found.pushes == {SITE: close(float(vector.norm()) / norm)}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("way", WAYS)
@FEW
@given(several(), st.floats(-1.5, 1.5).filter(lambda value: abs(value) > 0.01))
def test_scale_is_linear_and_the_raw_coefficient_of_the_direction(way, unit, case, scale):
    held, numbers = built(case)
    once, scaled = (made(held, way, numbers, unit=unit, scale=each) for each in (1.0, scale))
    torch.testing.assert_close(added(scaled.plan), added(once.plan.scaled(scale)))
    for one, other in zip(once.members, scaled.members, strict=True):
        assert (other.asked, other.effect) == (close(scale * one.asked), close(scale * one.effect))
    assert scaled.direction is not None
    assert scaled.direction.norms == once.direction.norms
    torch.testing.assert_close(
        added(Plan(scaled.direction, coefficient=scale, unit="raw")), added(scaled.plan), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("unit", UNITS)
@FEW
@given(several())
def test_solve_reaches_its_targets(unit, case):
    held, targets = built(case)
    found = compose(held, "solve", targets=targets, unit=unit)
    vector = added(found.plan)
    for name, one in held.items():
        assert effect(vector, one, unit) == pytest.approx(targets[name], rel=1e-3, abs=1e-3)
    assert found.residual < 1e-6
    assert {each.outcome for each in found.members} == {"kept"}


@pytest.mark.parametrize("way", ["sum", *ORTHOGONAL])
@FEW
@given(several())
def test_the_formulas_of_the_effects(way, case):
    held, weights = built(case)
    held = {name: dataclasses.replace(one, norms={SITE: 7.0}) for name, one in held.items()}
    found = compose(held, way, weights=weights)
    cosines = cosine_matrix(held)
    values, vectors = torch.linalg.eigh(cosines)
    mix = {"sum": cosines, "gram-schmidt": torch.linalg.cholesky(cosines)}
    mix["symmetric"] = vectors @ torch.diag(values.sqrt()) @ vectors.T
    expected = mix[way] @ torch.tensor(list(weights.values()), dtype=torch.float64)
    assert [each.effect for each in found.members] == [close(value) for value in expected.tolist()]


@FEW
@given(several())
def test_a_mean_is_a_sum_over_the_weights(case):
    held, weights = built(case)
    mean, total = (compose(held, way, weights=weights) for way in ("mean", "sum"))
    size = sum(abs(weight) for weight in weights.values())
    torch.testing.assert_close(added(mean.plan) * size, added(total.plan), rtol=1e-5, atol=1e-5)


def test_a_mean_of_raw_vectors_is_their_mean():
    held = planted([3.0, 1.0], [1.0, 5.0])
    found = compose(held, "mean", unit="raw")
    assert added(found.plan)[:2].tolist() == [2.0, 3.0]
    weighted = compose(held, "mean", weights={"one": 3}, unit="raw")
    assert added(weighted.plan)[:2].tolist() == [2.5, 2.0]


def test_in_norm_units_raw_lengths_do_not_count():
    """The published combinations add raw vectors, whose lengths differ eightfold: the longest drowns the others."""
    held = planted([8.0, 0.0], [0.0, 1.0], norms=[10.0, 10.0])
    assert [each.effect for each in compose(held, "sum", scale=0.3).members] == [close(0.3), close(0.3)]
    raw = added(compose(held, "sum", unit="raw").plan)
    assert float(raw[0] / raw[1]) == close(8.0)


@FEW
@given(several(), st.permutations(NAMES))
def test_only_gram_schmidt_depends_on_the_order(case, order):
    held, weights = built(case)
    turned = {name: held[name] for name in order if name in held}
    for way in ("mean", "sum", "symmetric", "solve"):
        one, other = (added(made(some, way, weights).plan) for some in (held, turned))
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    first = next(iter(turned))
    found = compose(turned, "gram-schmidt", weights=weights).members[0]
    assert (found.name, found.effect) == (first, close(weights[first]))


@pytest.mark.parametrize("way", ORTHOGONAL)
@FEW
@given(several())
def test_orthogonalised_directions_stand_at_right_angles_and_add_up_to_the_same(way, case):
    held, weights = built(case)
    apart = orthogonalised(held, way)
    torch.testing.assert_close(cosine_matrix(apart), torch.eye(len(held), dtype=torch.float64), atol=1e-4, rtol=0)
    for name, one in held.items():
        assert float(apart[name].vectors[SITE].norm()) == close(float(one.vectors[SITE].norm()))
        assert way in apart[name].method
    for unit in UNITS:
        whole = added(compose(held, way, weights=weights, unit=unit).plan)
        torch.testing.assert_close(added(inject(apart, weights=weights, unit=unit).plan), whole, rtol=1e-3, atol=1e-2)


def test_a_combined_direction_is_made_site_by_site():
    held = {"one": direction(1, [0, 1, 3]), "two": direction(2, [1, 2, 3])}
    assert sites_in_common(held) == [Site(1), Site(3)]
    whole = combined(held, "symmetric", weights={"two": 0.5})
    assert whole.sites == [Site(1), Site(3)]
    for site in whole.sites:
        alone = compose(held, "symmetric", at=site, weights={"two": 0.5}).direction
        assert torch.equal(whole.vectors[site], alone.vectors[site])
        assert whole.norms[site] == alone.norms[site]
    assert whole.origin.n == 16
    assert whole.method == "symmetric of one 1, two 0.5 in norm units of each"


def test_a_new_vector_has_no_ranges():
    known = Range(SITE, 1, tried=0.6, recommended=0.3, alarm=0.5)
    held = {"one": direction(1, [1]).with_ranges(known), "two": direction(2, [1])}
    for way in ("sum", "symmetric"):
        found = compose(held, way, scale=2.0)
        assert found.direction.ranges == ()
        assert found.plan.beyond() == []
    assert all(each.ranges == () for each in orthogonalised(held).values())


def test_the_gram_matrix_is_of_the_lengths_that_a_coefficient_means():
    held = planted([3.0, 4.0], [0.0, 2.0], norms=[10.0, 20.0])
    assert gram_matrix(held, unit="raw").tolist() == [[close(25.0), close(8.0)], [close(8.0), close(4.0)]]
    assert gram_matrix(held).tolist() == [[close(100.0), close(160.0)], [close(160.0), close(400.0)]]
    assert cosine_matrix(held)[0, 1] == close(0.8)
    with pytest.raises(InputError, match="expected a unit among norm, raw, got 'miles'"):
        gram_matrix(held, unit="miles")


def test_those_that_fight_and_those_that_help_are_named():
    held = planted([1.0, 0.0, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0])
    found = compose(held, "sum", weights={"one": 0.2, "two": 0.3, "three": 0.1})
    assert [(each.first, each.second, each.relation) for each in found.pairs] == [("one", "two", "fight")]
    assert [each.outcome for each in found.members] == ["reversed", "weakened", "kept"]
    assert found.warnings() == [
        "one at resid_post.1 and two at resid_post.1 fight: cosine -0.80 (threshold 0.3)",
        "one at resid_post.1 is predicted to be reversed: asked for +0.2 norm along its own axis, gets -0.04",
        "two at resid_post.1 is predicted to be weakened: asked for +0.3 norm along its own axis, gets +0.14",
    ]
    # Of the other sign, the same two help each other.
    turned = compose(held, "sum", weights={"one": -0.2, "two": 0.3, "three": 0.1})
    assert turned.pairs[0].relation == "reinforce"
    assert [each.outcome for each in turned.members] == ["strengthened", "strengthened", "kept"]
    assert compose(held, "sum", scale=0.1, threshold=0.9).warnings() == []
    idle = compose(held, "sum", weights={"one": 0.2, "two": 0, "three": 0.1})
    assert (idle.pairs[0].relation, idle.members[1].outcome) == ("overlap", "moved")
    assert len(idle.warnings()) == 1


def test_what_takes_the_overlap_out_does_not_warn_of_it():
    held = planted([1.0, 0.0], [-0.8, 0.6])
    solved = compose(held, "solve", targets={"one": 0.2, "two": 0.2})
    assert [each.relation for each in solved.pairs] == ["fight"]
    # It has a price, and that is said: the vector grows.
    assert solved.pushes[SITE] == close(0.4 / 0.4**0.5)
    assert solved.warnings() == [
        "0.63 of the residual norm is added at resid_post.1; text usually stays readable up to 0.5"
    ]


def test_a_bound_on_the_length_is_kept_at_every_scale():
    held = planted([1.0, 0.0], [-0.75, 0.66])
    targets = {"one": 0.2, "two": 0.2}
    for scale, unit in ((1.0, "norm"), (3.0, "norm"), (-2.0, "raw")):
        found = compose(held, "solve", targets=targets, scale=scale, unit=unit, most=0.1)
        assert float(added(found.plan).norm()) == close(0.1 * 10.0)
        assert found.residual > 0.01
    assert compose(held, "solve", targets=targets, most=0.6).residual < 1e-9


def test_targets_that_contradict_each_other_leave_a_residual():
    found = compose(planted([1.0, 0.0], [2.0, 0.0]), "solve", targets={"one": 0.4, "two": 0.0})
    assert [each.effect for each in found.members] == [close(0.2), close(0.2)]
    assert found.residual == close(0.2 * 2**0.5)


@FEW
@given(st.floats(0.1, 10), st.integers(0, 2**31), st.floats(0.01, 1))
def test_rounding_is_no_answer_to_targets_that_contradict_each_other(size, seed, target):
    """Opposed vectors cannot both be moved ahead; what float32 leaves between them has a length but no meaning."""
    one, three = torch.randn(2, 32, generator=torch.Generator().manual_seed(seed))
    held = planted(one.tolist(), (-size * one).tolist(), three.tolist())
    for targets in ({"one": target, "two": target}, {"one": -target, "two": -target, "three": 0.0}):
        for most in (None, 0.3):
            with pytest.raises(InputError, match="got ones of dependent directions that contradict each other"):
                compose(held, "solve", targets=targets, most=most)
    found = compose(held, "solve", targets={"one": target, "two": -target})
    assert [each.outcome for each in found.members] == ["kept"] * 3


@pytest.mark.parametrize("way", ORTHOGONAL)
def test_parallel_directions_cannot_be_orthogonalised(way):
    message = r"linearly independent directions at resid_post\.1 .* got one and two, which are not, cosine -1\.000000"
    for call in (compose, orthogonalised):
        with pytest.raises(InputError, match=message):
            call(planted([1.0, 2.0], [-2.0, -4.0], [0.0, 1.0]), way)
    with pytest.raises(InputError, match="got one and two and three, which are not; leave one of them out"):
        compose(planted([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]), way)


def test_directions_that_cancel_leave_nothing():
    held = planted([1.0, 2.0], [-1.0, -2.0])
    with pytest.raises(InputError, match=r"leave something when added at resid_post\.1, got ones that cancel"):
        compose(held, "sum")
    assert float(added(compose(held, "sum", weights={"two": -1}).plan).norm()) == close(20.0)


@pytest.mark.parametrize(
    ("way", "how", "message"),
    [
        ("product", {}, "expected a way among mean, sum, gram-schmidt, symmetric, solve, got 'product'"),
        ("solve", {}, "expected targets with the way 'solve'"),
        ("solve", {"targets": {"one": 1}, "weights": {"one": 1}}, "expected targets with the way 'solve'"),
        ("sum", {"targets": {"one": 1}}, "expected targets with the way 'solve'"),
        ("sum", {"most": 1.0}, "expected a bound on the length with the way 'solve', got it with 'sum'"),
        ("solve", {"targets": {"one": 1}, "most": -1.0}, "expected a length above 0 as the bound, got -1"),
        ("sum", {"weights": {"uno": 1}}, "expected a name among one, two, got 'uno'"),
        ("sum", {"weights": {"one": 0, "two": 0}}, "expected finite numbers, not all of them 0, .* got 0, 0"),
        ("sum", {"weights": {"one": float("nan")}}, "expected finite numbers"),
        ("mean", {"weights": {"one": 1e308, "two": 1e308}}, r"numbers of at most 1e\+15 in size, got 1e\+308"),
        ("sum", {"scale": 0.0}, "expected a finite scale other than 0, got 0"),
        ("sum", {"scale": float("inf")}, "expected a finite scale"),
        ("sum", {"unit": "miles"}, "expected a unit among norm, raw, got 'miles'"),
        ("sum", {"threshold": 0.0}, "expected a threshold above 0, got 0"),
        ("sum", {"at": 3}, r"one: expected a layer that the direction holds \(1, 2\), got 3"),
        ("sum", {"at": None}, "expected directions with one site in common, got 2, such as resid_post.1 and"),
    ],
)
def test_what_cannot_be_composed_is_said(way, how, message):
    held = {"one": direction(1, [1, 2]), "two": direction(2, [1, 2])}
    with pytest.raises(InputError, match=message):
        compose(held, way, **{"at": 1, **how})


def test_directions_have_to_meet():
    with pytest.raises(InputError, match=r"a site in common, got none; one holds resid_post\.1; two holds"):
        combined({"one": direction(1, [1]), "two": direction(2, [2])})
    with pytest.raises(InputError, match="expected at least one direction, got none"):
        compose({})


def test_directions_of_different_models_are_refused():
    def of(revision):
        return dataclasses.replace(direction(1, [1]), origin=dataclasses.replace(origin(), revision=revision))

    for other in (direction(2, [1], width=16), direction(2, [1], depth=5)):
        with pytest.raises(MismatchError, match="expected directions of one model, got one of width 32 and 4 layers"):
            compose({"one": of("a" * 64), "two": other})
    with pytest.raises(MismatchError, match="on the same weights, got one of tiny, revision aaaaaaaaaaaa, and three"):
        compose({"one": of("a" * 64), "two": of(""), "three": of("b" * 64)})
    found = compose({"one": of(""), "two": of("a" * 64)})
    assert found.direction.origin.revision == "a" * 64


def test_heads_of_other_widths_are_of_another_model():
    """A direction says how wide the stream is and not how wide a head is: two models may differ in that alone."""
    head = Site(1, "head", 0)
    narrow, wide = (
        Direction({head: torch.ones(width)}, {head: 2.0}, dataclasses.replace(origin(), revision=""), "made up")
        for width in (8, 16)
    )
    for call in (compose, inject, cosine_matrix, combined, orthogonalised):
        with pytest.raises(MismatchError, match=r"of one model, got vectors of widths 8 and 16 at head\.1\.0"):
            call({"one": narrow, "two": wide})


def test_heads_have_a_basis_of_their_own():
    head, other = Site(1, "head", 0), Site(1, "head", 2)
    held = {"one": made_at(1, head), "two": made_at(2, head), "three": made_at(3, other), "four": direction(4, [1])}
    cosines = cosine_matrix(held)
    assert cosines[0, 1] == close(cosine(held["one"].vectors[head], held["two"].vectors[head]))
    assert cosines[:2, 2:].isnan().all()
    assert cosines[2, 3].isnan()
    found = inject(held, scale=0.1)
    alone = inject({name: held[name] for name in ("one", "two")}, scale=0.1)
    assert [each.effect for each in found.members[:2]] == [each.effect for each in alone.members]
    assert [each.effect for each in found.members[2:]] == [close(0.1), close(0.1)]
    assert found.plain()["cosines"][0][2] is None
