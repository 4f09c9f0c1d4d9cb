"""Directions: one vector a site, checked when made; and the controls made from them."""

import dataclasses

import pytest
import torch
from jaxtyping import TypeCheckError, config

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.errors import InputError, MismatchError
from steersman.maths.geometry import cosine, unit
from steersman.where import Site, Span
from tiny import direction, origin


@pytest.fixture
def unchecked():
    """Without the checker, as users run it: it would see a wrong shape before the library's own words do."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


ZERO, ONES = torch.zeros(32), torch.ones(32)


def made(vector=ONES, layer=1, norm=1.0, norm_layer=None):
    site = Site(layer)
    return Direction({site: vector}, {Site(norm_layer or layer): norm}, origin(), "made up")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"vector": ZERO}, InputError, r"positive length at resid_post\.1, got zero"),
        ({"vector": ONES.clone().fill_(float("nan"))}, InputError, r"finite numbers in the vector at resid_post\.1"),
        ({"vector": ONES * float("inf")}, InputError, "got NaN or infinity"),
        ({"vector": torch.ones(16)}, MismatchError, r"width 32 at resid_post\.1, got shape \(16,\)"),
        ({"vector": torch.ones(1, 32)}, MismatchError, r"got shape \(1, 32\)"),
        ({"layer": 4}, MismatchError, r"a layer below 4, got resid_post\.4"),
        ({"norm": 0.0}, InputError, "positive residual norm"),
        ({"norm": float("nan")}, InputError, "positive residual norm"),
        ({"norm_layer": 2}, MismatchError, "a residual norm for every site"),
    ],
)
def test_what_cannot_steer_is_refused(unchecked, arguments, kind, message):
    with pytest.raises(kind, match=message):
        made(**arguments)


def test_no_vector_is_refused():
    with pytest.raises(InputError, match="at least one site, got none"):
        Direction({}, {}, origin(), "made up")


def test_at_takes_layers_sites_and_negative_layers():
    whole = dataclasses.replace(direction(1, [0, 2, 3]), diagnostics={"separation": {Site(0): 0.9, Site(3): 0.8}})
    assert whole.at(3, 0).sites == [Site(0), Site(3)]
    assert whole.at(-1).sites == [Site(3)]
    assert whole.at(Site(2)).norms == {Site(2): 8.0}
    assert whole.at(3).diagnostics == {"separation": {Site(3): 0.8}}
    assert torch.equal(whole.at(2).vectors[Site(2)], whole.vectors[Site(2)])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "at least one layer"),
        ([4], "layer from -4 to 3, got 4"),
        ([-5], "layer from -4 to 3, got -5"),
        ([1], r"holds \(0, 2\), got 1; record that layer first"),
        ([Site(9)], r"holds \(0, 2\), got resid_post.9"),
    ],
)
def test_a_layer_that_is_not_there_is_refused(where, message):
    with pytest.raises(InputError, match=message):
        direction(1, [0, 2]).at(*where)


def test_the_random_control_has_equal_norms_and_another_way():
    fitted = direction(1, [0, 1, 2, 3])
    control = fitted.random(7)
    for site in fitted.sites:
        assert float(control.vectors[site].norm()) == pytest.approx(float(fitted.vectors[site].norm()), rel=1e-6)
        assert abs(cosine(control.vectors[site], fitted.vectors[site])) < 0.6
        assert torch.equal(control.vectors[site], fitted.random(7).vectors[site])
        assert not torch.equal(control.vectors[site], fitted.random(8).vectors[site])
    assert control.norms == fitted.norms
    assert "seed 7" in control.method
    # A site's control does not depend on which other sites are held.
    assert torch.equal(fitted.at(2).random(7).vectors[Site(2)], control.vectors[Site(2)])
    assert abs(cosine(control.vectors[Site(0)], control.vectors[Site(1)])) < 0.6


def test_moving_says_where_the_vector_was_read():
    moved = direction(1, [1]).moved(3, 5.0)
    assert moved.sites == [Site(3)]
    assert moved.norms == {Site(3): 5.0}
    assert torch.equal(moved.vectors[Site(3)], direction(1, [1]).vectors[Site(1)])
    assert "moved from resid_post.1" in moved.method
    with pytest.raises(InputError, match="one site to move, got 2"):
        direction(1, [1, 2]).moved(3, 5.0)
    with pytest.raises(MismatchError, match="below 4"):
        direction(1, [1]).moved(7, 5.0)


def test_units_have_length_one():
    one = direction(1, [1])
    assert torch.equal(one.units(Site(1)), unit(one.vectors[Site(1)]))


def activations(n=5, m=5, norms=None):
    site = Site(1)
    return Activations(
        {site: torch.ones(n, 32)}, {site: torch.zeros(m, 32)}, {site: 2.0} if norms is None else norms, origin(n=n)
    )


def test_activations_must_fit_together(unchecked):
    with pytest.raises(MismatchError, match=r"equal shapes at resid_post\.1, got \(5, 32\) and \(4, 32\)"):
        activations(5, 4)
    with pytest.raises(MismatchError, match="the same sites"):
        activations(norms={Site(2): 1.0})


def test_a_subset_says_how_many_pairs_it_holds():
    part = activations().subset(slice(0, 3))
    assert part.positive[Site(1)].shape == (3, 32)
    assert part.origin.n == 3
    assert torch.equal(part.differences(Site(1)), torch.ones(3, 32, dtype=torch.float64))


def test_shapes_and_types_are_checked_under_pytest():
    """The laws run with jaxtyping and beartype on the lower floors; this is what shows that they do."""
    with pytest.raises(TypeCheckError):
        unit(torch.ones(2, 2))
    with pytest.raises(TypeCheckError):
        Span("all").mask(torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    with pytest.raises(TypeCheckError):
        direction(1).random("seven")
