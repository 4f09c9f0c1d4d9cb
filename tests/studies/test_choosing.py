"""What a study takes where nothing keeps its budget: it goes on, and says so."""

from dataclasses import replace

import pytest

from steersman.selected import Considered
from steersman.selection.chosen import CoefficientChoice
from steersman.selection.curve import Curve, Pick, Trial
from steersman.studies.choosing import _choice, _Shortlist, _taken
from steersman.where import Site
from test_selecting import selected

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
