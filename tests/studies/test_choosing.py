"""What a study takes where nothing keeps its budget: it goes on, and says so."""

import math
from dataclasses import replace

import pytest
import torch

from steersman.errors import InputError
from steersman.evaluation import Measured
from steersman.selected import Considered
from steersman.selection.chosen import CoefficientChoice
from steersman.selection.curve import Curve, Pick, Trial
from steersman.studies import read_config
from steersman.studies.refusal.choosing import _choice, _Shortlist, _shortlist, _taken, _together
from steersman.tasks import Outcome
from steersman.where import Site
from test_selecting import selected
from tiny import direction

SHORT = _Shortlist((2, 1), "by effect", {})


def considered(layer: int, *, recommended: float | None, coefficient: float | None) -> Considered:
    pick = Pick("found" if recommended else "never coherent", recommended, None, None, 1.0, "a reason")
    curve = Curve((Trial(0.0), Trial(1.0)))
    choice = CoefficientChoice(pick, curve, (), "r", (Site(layer),), 1, "norm", "add", "all", 2.0, 2, 1, "a reason")
    return Considered(Site(layer), "add", choice, coefficient, 0.0 if coefficient else None, {}, ("a reason",))


def none_of(*each: Considered):
    found = selected(confirm=False)
    return replace(found, status="nothing within budget", chosen=None, considered=each, ranges=())


def test_what_was_chosen_is_taken_with_the_ranges_of_its_site():
    found = selected(confirm=False)
    choice = _choice({"refusal, learned": found, "other": selected(sign=-1, confirm=False)}, SHORT, 0.3, {"rows": []})
    assert (choice.site, choice.coefficient, choice.status) == ("resid_post.1", 0.8, "within budget")
    assert choice.direction.recommendation().recommended == 0.8
    assert [own.site for own in choice.direction.ranges] == [Site(1)]
    assert choice.profile == {"rows": [], "chosen": 1}
    assert [each["name"] for each in choice.selections] == ["refusal, learned", "other"]
    assert choice.reason == f"{found.reason} Shortlist: by effect"


def test_learned_vectors_stand_together_with_the_figures_of_each():
    parts = [replace(direction(layer, [layer]), diagnostics={"loss": {Site(layer): 0.1 * layer}}) for layer in (2, 1)]
    both = _together(parts)
    assert both.sites == [Site(1), Site(2)]
    for part in parts:
        alone = both.at(*part.sites)
        assert alone.diagnostics == part.diagnostics
        assert alone.norms == part.norms
        assert all(torch.equal(alone.vectors[site], part.vectors[site]) for site in part.sites)


def test_a_study_whose_layers_have_no_effect_that_is_a_number_says_so(monkeypatch):
    class Still:
        config = read_config("refusal")

        def measured(self, stage, tasks, settings):
            del stage
            return [Measured(task, each, [Outcome("a", {"m": math.nan})]) for each in settings for task in tasks]

    with pytest.raises(InputError, match=r"expected an effect at 0\.3 of the residual norm, got no site: all"):
        _shortlist(Still(), "layers", direction(1, [0, 1, 2, 3]), {"effect": None}, "m", "effect")


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        # By the order of the shortlist, layer 2 first: what kept the budget without a gain; what rule allowed; neither.
        ((0.8, None), (0.8, 0.1), (Site(1), 0.1, "no gain within budget")),
        ((0.8, 0.2), (0.8, 0.1), (Site(2), 0.2, "no gain within budget")),
        ((0.6, None), (0.8, None), (Site(2), 0.6, "over budget")),
        ((None, None), (0.8, None), (Site(1), 0.8, "over budget")),
        ((None, None), (None, None), (Site(2), 0.3, "never coherent")),
    ],
)
def test_without_a_choice_the_study_goes_on_and_says_why(first, second, taken):
    places = [
        considered(layer, recommended=recommended, coefficient=coefficient)
        for layer, (recommended, coefficient) in ((2, first), (1, second))
    ]
    found = none_of(*places)
    assert _taken(found, SHORT.layers, 0.3) == taken
    choice = _choice({"refusal": found}, SHORT, 0.3, {})
    assert choice.status == taken[2]
    assert f"{taken[0]} at {taken[1]:g} is taken all the same" in choice.reason
    assert choice.reason.endswith("is taken all the same. Shortlist: by effect")


def test_where_the_rule_sees_no_effect_the_status_is_the_rules_own():
    place = considered(2, recommended=None, coefficient=None)
    place = replace(place, choice=replace(place.choice, pick=replace(place.choice.pick, status="no effect")))
    assert _taken(none_of(place), (2,), 0.3) == (Site(2), 0.3, "no effect")
