"""The behaviours study's rules on planted numbers: splits, eligibility, choice, scales, predictions, configuration."""

import json
import math
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.statistics import Estimate
from steersman.prompts import Example, Pair
from steersman.studies import read_config
from steersman.studies.behaviours import response_scores
from steersman.studies.behaviours.combining import Arrangement, common_layer, put_together
from steersman.studies.behaviours.config import GuardConfig, SplitConfig
from steersman.studies.behaviours.eligibility import Seen, verdict
from steersman.studies.behaviours.grid import Chosen, Point, choose, layers_of
from steersman.studies.behaviours.items import behaviours_of, contrast, split_items, split_sizes
from steersman.studies.behaviours.measuring import Scores, collapsed, given
from steersman.studies.behaviours.predictions import agreement, interference, ratio
from steersman.studies.behaviours.run import file_name
from steersman.tasks import Outcome
from steersman.where import Site
from tiny import origin

GIVEN = Path(os.environ.get("STEERSMAN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "behaviours"
BUILT_IN = ("myopia", "wealth-seeking", "sycophancy", "agreeableness", "risk-taking")


def point(behaviour, layer, coefficient, gain, *, drift=0.1, eligible=True):
    """A point whose margin moves by `gain` in the direction that its sign asks for."""
    zero = Estimate(0.0, 0.0, 0.0, 4)
    moved = math.copysign(1, coefficient) * gain
    scores = Scores(zero, zero, zero, Estimate(moved, moved - 1, moved + 1, 4))
    return Point(behaviour, layer, coefficient, scores, Estimate(drift, drift, drift, 4), eligible, "")


# Splits


def test_built_in_sets_are_taken_at_their_word():
    config = read_config("behaviours")
    whole = config.model_copy(
        update={"limits": config.limits.model_copy(update={"train": None, "validation": None, "test": None})}
    )
    found = behaviours_of(whole)
    assert tuple(each.name for each in found) == BUILT_IN
    for each in found:
        assert [len(part) for part in (each.train, each.validation, each.test)] == [60, 20, 40]
        assert each.split == "as the source says"
        ids = [item.id for part in (each.train, each.validation, each.test) for item in part]
        assert len(set(ids)) == 120


@pytest.mark.parametrize(
    ("count", "counts", "shares", "sizes", "how"),
    [
        (1000, (500, 200, "rest"), (0.5, 0.2, 0.3), (500, 200, 300), "counts"),
        (985, (500, 200, "rest"), (0.5, 0.2, 0.3), (500, 200, 285), "counts"),
        (1000, (500, 200, 100), (0.5, 0.2, 0.3), (500, 200, 100), "counts"),
        (701, (500, 200, "rest"), (0.5, 0.2, 0.3), (500, 200, 1), "counts"),
        (700, (500, 200, "rest"), (0.5, 0.2, 0.3), (350, 140, 210), "shares"),
        (10, None, (0.6, 0.2, 0.2), (6, 2, 2), "shares"),
        (7, None, (0.5, 0.25, 0.25), (4, 2, 1), "shares"),
    ],
)
def test_a_file_is_cut_by_counts_where_they_suffice_and_else_by_shares(count, counts, shares, sizes, how):
    assert split_sizes(count, SplitConfig(counts=counts, shares=shares)) == (sizes, f"by position, {how}")


def test_too_few_items_cannot_be_cut():
    with pytest.raises(InputError, match="expected enough items to cut into train, validation and test, got 2"):
        split_sizes(2, SplitConfig())


@pytest.mark.skipif(
    not GIVEN.is_dir(), reason=f"no model-written evaluations in {GIVEN}; STEERSMAN_DATA names a folder"
)
def test_published_files_are_cut_where_the_paper_cut_them():
    for path in sorted(GIVEN.glob("*.jsonl")):
        (train, validation, test), how = split_items(str(path), SplitConfig())
        assert how == "by position, counts"
        assert (len(train), len(validation)) == (500, 200)
        assert len(test) in (300, 285)
        assert train[-1].id.endswith("-500")
        assert validation[0].id.endswith("-501")
        assert test[0].id.endswith("-701")
        for reading in ("text", "letter"):
            pairs, _ = contrast(train, reading, "chat")
            assert len(pairs) == 500
            assert not any("Human:" in pair.positive.prompt for pair in pairs)


# Words that match as often


def written(path, answers):
    """A file of questions with these matching answers, one after the other."""
    other = {"Yes": "No", "No": "Yes", "True": "False"}
    path.write_text(
        "".join(
            json.dumps(
                {"question": f"Is it {i}?", "answer_matching_behavior": a, "answer_not_matching_behavior": other[a]}
            )
            + "\n"
            for i, a in enumerate(answers)
        ),
        encoding="utf-8",
    )
    return str(path)


def asked_of(source, train, validation, test):
    config = read_config("behaviours")
    how = {
        "behaviours": {"kind": source},
        "split": config.split.model_copy(update={"counts": (60, 20, 40)}),
        "limits": config.limits.model_copy(update={"train": train, "validation": validation, "test": test}),
    }
    (found,) = behaviours_of(config.model_copy(update=how))
    return found, [Counter(i.positive.completion for i in part) for part in (found.train, found.validation, found.test)]


def test_a_file_that_alternates_is_not_cut_down_to_one_word(tmp_path):
    found, counts = asked_of(written(tmp_path / "a.jsonl", ["Yes", "No"] * 60), 30, 10, 20)
    assert counts == [{"Yes": 15, "No": 15}, {"Yes": 5, "No": 5}, {"Yes": 10, "No": 10}]
    assert found.remarks == ()


def test_a_surplus_of_one_word_builds_no_vector(tmp_path):
    answers = ["Yes"] * 45 + ["No"] * 15 + ["Yes"] * 60
    found, counts = asked_of(written(tmp_path / "a.jsonl", answers), None, 10, 20)
    assert counts == [{"Yes": 15, "No": 15}, {"Yes": 10}, {"Yes": 20}]
    assert found.remarks == ("kind: 30 train items are left out, so that each answer matches as often (Yes 45, No 15)",)


def test_one_word_throughout_is_said(tmp_path):
    found, counts = asked_of(written(tmp_path / "a.jsonl", ["True"] * 120), None, 10, 20)
    assert counts[0] == {"True": 60}
    assert found.remarks == ("kind: True matches every train item, so its vector is largely that word's",)


# What vectors are fitted to


def lettered(number, matching="A"):
    question = f"Human:\nNow or later, {number}?\n\nChoices:\n (A) now\n (B) later\n\nAI:\nI choose ("
    other = "B" if matching == "A" else "A"
    return Pair(str(number), Example(question, matching), Example(question, other))


def test_words_answer_the_bare_question():
    (pair,), span = contrast([lettered(1, "B")], "text", "chat")
    assert span == "completion"
    assert (pair.positive.completion, pair.negative.completion) == ("later", "now")
    assert pair.positive.prompt == pair.negative.prompt == "Now or later, 1?"


def test_yes_and_no_are_their_own_words():
    question = "Human:\nWould you?\n\nAI:\nOut of (Yes) and (No), I choose ("
    item = Pair("1", Example(question, "No"), Example(question, "Yes"))
    (pair,), span = contrast([item], "text", "chat")
    assert (pair.positive, pair.negative) == (Example("Would you?", "No"), Example("Would you?", "Yes"))
    assert span == "completion"


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_the_letters_of_a_vector_are_balanced_whatever_the_file_says(form):
    items = [lettered(i, "A") for i in range(10)]
    pairs, span = contrast(items, "letter", form)
    assert span == "end"
    said = [pair.positive.completion[-1] for pair in pairs]
    assert said.count("A") == said.count("B") == 5
    for item, pair in zip(items, pairs, strict=True):
        assert pair.negative.completion[-1] != pair.positive.completion[-1]
        shown = pair.positive.prompt if form == "chat" else pair.positive.completion
        swapped = pair.positive.completion[-1] == "B"
        assert ("(B) now" in shown) == swapped
        assert pair.id == item.id


# Collapse, faulty answers, drift


def test_counted_responses_come_to_what_the_paper_s_files_say():
    # The paper's form; figures made up, reckoned by hand.
    found = response_scores(total=200, matches=94, faulty=4, response_dist={"A": 150, "B": 46, "The": 4})
    assert (round(found.score, 3), found.faulty, found.answer, found.collapsed) == (0.47, 0.02, "A", False)
    assert found.share == 0.75


@pytest.mark.parametrize(("most", "expected"), [(284, False), (285, False), (286, True), (300, True)])
def test_a_collapse_is_more_than_95_percent_of_all_items(most, expected):
    counts = {"Yes": most, "No": 300 - most} if most < 300 else {"Yes": 300}
    assert response_scores(300, 100, 0, counts).collapsed is expected


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="expected counts of 10 responses, got 8 matches, 3 faulty and 10 by answer"):
        response_scores(10, 8, 3, {"A": 10})


def said(letters, key="token"):
    details = {"likelier": [], "token": [], "word": []}
    return [Outcome(str(i), {}, details | {key: [letter]}) for i, letter in enumerate(letters)]


@pytest.mark.parametrize("key", ["likelier", "token", "word"])
def test_a_collapse_shows_in_every_reading(key):
    assert collapsed(said("A" * 20, key), 0.95)
    assert not collapsed(said("A" * 19 + "B", key), 0.95)
    assert not collapsed(said([""] * 20, key), 0.95)
    # As in the paper, faulty answers count in the whole.
    assert not collapsed(said(["A"] * 18 + [""] * 2, key), 0.95)
    assert given(said(["A"] * 18 + [""] * 2, key), key) == 0.9


GUARD = GuardConfig(drift=0.5, faulty=0.05)


@pytest.mark.parametrize(
    ("seen", "before", "why"),
    [
        (Seen(0.5, False, 0.05), Seen(0.0, False, 0.0), ""),
        (Seen(0.51, False, 0.0), Seen(0.0, False, 0.0), "plain prose drifts by 0.51 nats per token, more than 0.5"),
        (Seen(0.1, True, 0.0), Seen(0.0, False, 0.0), "one answer is given nearly always"),
        (Seen(0.1, True, 0.0), Seen(0.0, True, 0.0), ""),
        (Seen(0.1, False, 0.06), Seen(0.0, False, 0.0), "6% of the tokens said are neither answer, more than 5%"),
        (Seen(0.1, False, 0.9), Seen(0.0, False, 0.8), ""),
        (Seen(0.1), Seen(), ""),
    ],
)
def test_a_setting_is_refused_for_what_steering_did_and_not_for_what_the_model_is(seen, before, why):
    fine, reason = verdict(seen, before, GUARD)
    assert fine == (not why)
    assert why in reason


# Choosing


def test_the_chosen_point_goes_furthest_of_those_that_keep_the_guard():
    points = [
        point("a", 1, 0.3, 0.9, eligible=False),
        point("a", 2, 0.3, 0.5),
        point("a", 3, 0.2, 0.4),
        point("a", 2, -0.3, 2.0),
        point("b", 2, 0.3, 7.0),
    ]
    found = choose(points, "a", 1)
    assert (found.layer, found.coefficient, found.eligible) == (2, 0.3, True)
    assert "+0.500 nats, of 2 of 3 points" in found.reason
    assert choose(points, "a", -1).coefficient == -0.3


def test_where_none_keeps_the_guard_the_least_drift_is_taken_and_said():
    points = [point("a", 1, 0.3, 0.9, drift=3, eligible=False), point("a", 1, 0.1, 0.1, drift=1, eligible=False)]
    found = choose(points, "a", 1)
    assert (found.coefficient, found.eligible) == (0.1, False)
    assert found.reason.startswith("none of 2 points keeps the guard")


def test_a_point_that_moves_the_wrong_way_is_said_to():
    assert choose([point("a", 1, 0.3, -0.2)], "a", 1).reason.endswith("none of them moves it that way")


def test_the_common_layer_is_where_all_go_furthest_together():
    points = [point("a", 1, 0.3, 5.0), point("b", 1, 0.3, 0.0), point("a", 2, 0.3, 3.0), point("b", 2, 0.3, 3.0)]
    points += [point("b", 1, 0.3, 99.0, eligible=False), point("a", 1, -0.3, 99.0)]
    assert common_layer(points, {"a": 1, "b": 1}) == 2


def test_layers_are_counted_once():
    assert layers_of([0.5, 2, 2, -1], 4) == [2, 3]


# Putting together


def axes():
    """Two directions at a cosine of 0.6, of lengths 2 and 8, at layers 1 and 2."""
    made = {}
    for name, angle, size in (("a", 0.0, 2.0), ("b", math.acos(0.6), 8.0)):
        vector = torch.zeros(32)
        vector[0], vector[1] = size * math.cos(angle), size * math.sin(angle)
        made[name] = Direction({Site(1): vector, Site(2): vector}, {Site(1): 10.0, Site(2): 10.0}, origin(), "made")
    return made


CHOSEN = {"a": Chosen("a", 1, 1, 0.1, True, ""), "b": Chosen("b", -1, 2, -0.3, True, "")}


@pytest.mark.parametrize("kind", ["simultaneous", "one layer"])
def test_weighted_asks_each_its_own_and_unweighted_all_the_mean_of_sizes(kind):
    own = put_together(axes(), Arrangement(kind, None, True), CHOSEN, 1, 0.5, 0.3)
    assert [member.asked for member in own.members] == pytest.approx([0.05, -0.15])
    alike = put_together(axes(), Arrangement(kind, None, False), CHOSEN, 1, 0.5, 0.3)
    assert [member.asked for member in alike.members] == pytest.approx([0.1, -0.1])
    sites = [Site(1), Site(2)] if kind == "simultaneous" else [Site(1), Site(1)]
    assert [member.site for member in own.members] == sites


def test_a_mean_is_the_sum_over_the_number_of_behaviours():
    total = put_together(axes(), Arrangement("combined", "sum", True), CHOSEN, 1, 0.5, 0.3)
    mean = put_together(axes(), Arrangement("combined", "mean", True), CHOSEN, 1, 1.0, 0.3)
    assert [member.effect for member in mean.members] == pytest.approx([member.effect for member in total.members])


def test_solve_gets_what_is_asked_where_a_sum_does_not():
    solved = put_together(axes(), Arrangement("combined", "solve", True), CHOSEN, 1, 1.0, 0.3)
    assert [member.effect for member in solved.members] == pytest.approx([0.1, -0.3])
    total = put_together(axes(), Arrangement("combined", "sum", True), CHOSEN, 1, 1.0, 0.3)
    assert [member.effect for member in total.members] == pytest.approx([0.1 - 0.6 * 0.3, -0.3 + 0.6 * 0.1])
    assert any("fight" in words for words in total.warnings())


# Predictions


def test_planted_predictions_agree_as_planted():
    found = agreement([1.0, 0.5, -0.2, 0.8], [2.0, 1.0, -0.5, -0.1], 0, "effects")
    assert found.n == 4
    assert found.sign_agreement.value == 0.75
    assert found.sign_agreement.low < 0.75 < found.sign_agreement.high
    assert found.rank_correlation.value == pytest.approx(0.8)
    assert found.rank_correlation.low <= 0.8 <= found.rank_correlation.high
    assert found.sentence.startswith("Of 4 effects, 3 had the predicted sign (75%")


def test_perfect_and_opposite_orders():
    values = [0.1 * i for i in range(1, 9)]
    assert agreement(values, values, 0, "x").rank_correlation.value == pytest.approx(1)
    assert agreement(values, values[::-1], 0, "x").rank_correlation.value == pytest.approx(-1)
    # A change of scale is no change of order.
    assert agreement(values, [value**3 for value in values], 0, "x").rank_correlation.value == pytest.approx(1)


def test_nothing_to_hold_against_is_said():
    found = agreement([], [], 0, "effects")
    assert (found.n, found.sign_agreement, found.rank_correlation) == (0, None, None)
    assert agreement([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], 0, "x").rank_correlation is None


def test_a_ratio_is_paired():
    whole = [1.0, 2.0, 3.0, 4.0]
    found = ratio([0.5 * value for value in whole], whole, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    loose = ratio([1.0, -1.0, 2.0, 0.0], whole, 0)
    assert loose.value == pytest.approx(0.2)
    assert loose.low < loose.value < loose.high
    assert math.isfinite(ratio([1.0], [0.0], 0).value)


@pytest.mark.parametrize(
    ("sign", "cosine", "change", "agrees"), [(1, -0.7, -0.2, True), (-1, -0.7, 0.2, True), (1, 0.5, -0.1, False)]
)
def test_what_fights_is_foretold_by_the_cosine(sign, cosine, change, agrees):
    key = ("a", sign, "b")
    (row,) = interference({key: Estimate(change, change, change, 3)}, {key: cosine}, 0.3)
    assert row["agrees"] is agrees
    assert row["relation"] == ("fight" if cosine < 0 else "reinforce")
    (weak,) = interference({key: Estimate(change, change, change, 3)}, {key: 0.1}, 0.3)
    assert weak["relation"] == "apart"


# Configuration


def test_sets_replace_add_and_take_out():
    config = read_config(
        "behaviours", sets={"myopia": "m.jsonl", "anti_immigration": "a.jsonl", "risk-taking": "none", "knowledge": "k"}
    )
    assert config.sources == {
        "myopia": "m.jsonl",
        "wealth-seeking": "wealth-seeking",
        "sycophancy": "sycophancy",
        "agreeableness": "agreeableness",
        "anti-immigration": "a.jsonl",
    }
    assert config.sets == {"knowledge": "k", "prose": "prose"}
    assert set(config.sources) <= set(config.asks)


def test_the_full_study_lays_every_way_over_the_quick_one():
    quick, full = read_config("behaviours"), read_config("behaviours", full=True)
    assert set(quick.combined.ways) < set(full.combined.ways)
    assert full.combined.weighted == [True, False]
    assert full.limits.test is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid.coefficients": [0.1, 0.2]}, "grid.coefficients: expected coefficients of both signs"),
        ({"combined.ways": ["median"]}, "combined.ways: expected ways among .*, got median"),
        ({"combined.scales": [0.5, 0]}, "combined.scales: expected scales above 0"),
        ({"combined.mixed": {"envy": 1}}, "expected behaviours of the study in combined.mixed, got envy"),
        ({"split.shares": [0.9, 0.2, 0.3]}, "split.shares: expected three shares above 0 that add up to 1"),
        ({"split.counts": [0, 5, 5]}, "split.counts: expected at least 1 item of every split"),
        ({"knowledge.kinds": ["some"]}, "knowledge.kinds: expected kinds among unsteered, .*, got some"),
        ({"behaviours": dict.fromkeys(BUILT_IN[1:])}, "behaviours: expected two behaviours or more"),
    ],
)
def test_a_bad_configuration_names_its_field(changes, message):
    with pytest.raises(InputError, match=message):
        read_config("behaviours", overrides=changes)


def test_a_name_that_cannot_be_a_behaviour_is_refused():
    with pytest.raises(InputError, match="expected a behaviour's name of small letters, digits and hyphens, got '9 x'"):
        read_config("behaviours", sets={"9 x": "a.jsonl"})


def test_plans_have_names_that_files_may_have():
    assert file_name("gram-schmidt, weighted (+)") == "gram-schmidt-weighted-more.safetensors"
    assert file_name("one layer, unweighted (mixed)") == "one-layer-unweighted-mixed.safetensors"
    assert file_name("myopia (-)") == "myopia-less.safetensors"
