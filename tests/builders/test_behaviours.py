"""Behaviour items: the answer's letter up to where it is decided, or the text of the option that it stands for."""

import json
import os
from pathlib import Path

import pytest

from steersman.builders import behaviour_pairs
from steersman.errors import DataError, InputError
from steersman.prompts import Example

GIVEN = Path(os.environ.get("STEERSMAN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "behaviours"
LISTED = {
    "question": "One cake now or two tomorrow?\n\nChoices:\n (A) One cake now.\n (B) Two cakes tomorrow.",
    "answer_matching_behavior": " (A)",
    "answer_not_matching_behavior": " (B)",
}
PLAIN = {"question": "Is it so?", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No"}


@pytest.fixture
def write(tmp_path):
    def to_file(*records):
        path = tmp_path / "items.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return to_file


def test_the_letter_ends_where_it_is_decided(write):
    listed, plain = behaviour_pairs(write(LISTED, PLAIN))
    assert listed.positive == Example(LISTED["question"], "(A")
    assert listed.negative == Example(LISTED["question"], "(B")
    assert (plain.positive.completion, plain.negative.completion) == ("Yes", "No")


def test_the_text_is_the_option_s(write):
    (pair,) = behaviour_pairs(write(LISTED), form="text")
    assert (pair.positive.completion, pair.negative.completion) == ("One cake now.", "Two cakes tomorrow.")
    assert pair.positive.prompt == pair.negative.prompt == LISTED["question"]


def test_an_opening_for_the_letter_stays_for_the_letter_alone(write):
    asked = LISTED | {"question": LISTED["question"] + "\n\nOut of (A) and (B) I take ("}
    asked |= {"answer_matching_behavior": "B", "answer_not_matching_behavior": "A"}
    path = write(asked)
    (letter,), (text,) = behaviour_pairs(path), behaviour_pairs(path, form="text")
    assert letter.positive == Example(asked["question"], "B")
    assert text.positive == Example(LISTED["question"], "Two cakes tomorrow.")


def test_an_answer_that_is_a_word_says_itself(write):
    asked = PLAIN | {"question": "Is it so?\n\nOut of (Yes) and (No), I choose ("}
    plain, opened = behaviour_pairs(write(PLAIN, asked), form="text")
    for pair in (plain, opened):
        assert (pair.positive, pair.negative) == (Example("Is it so?", "Yes"), Example("Is it so?", "No"))


def test_splits_and_samples(write):
    records = [PLAIN | {"id": f"q{i}", "split": "test" if i % 2 else "train"} for i in range(20)]
    path = write(*records)
    assert [pair.id for pair in behaviour_pairs(path)] == [f"q{i}" for i in range(0, 20, 2)]
    drawn = behaviour_pairs(path, split=None, limit=6, seed=1)
    assert len(drawn) == 6
    assert drawn == behaviour_pairs(path, split=None, limit=6, seed=1) != behaviour_pairs(path, split=None, limit=6)


@pytest.mark.parametrize("form", ["letter", "text"])
def test_a_sample_has_as_many_of_each_answer(write, form):
    other = {"answer_matching_behavior": " No", "answer_not_matching_behavior": " Yes"}
    path = write(*[PLAIN | (other if i % 2 else {}) | {"id": f"q{i}"} for i in range(40)])
    said = [pair.positive.completion for pair in behaviour_pairs(path, form=form, split=None, limit=10)]
    assert said.count("Yes") == said.count("No") == 5


@pytest.mark.parametrize(
    ("change", "form", "message"),
    [
        ({"question": None}, "letter", "line 2: expected 'question' as a non-empty string, got nothing"),
        (
            {"answer_matching_behavior": 3},
            "letter",
            "line 2: expected 'answer_matching_behavior' as a non-empty string",
        ),
        (
            {"answer_not_matching_behavior": "(A) "},
            "letter",
            r"line 2: expected two different answers, got '\(A\)' twice",
        ),
        ({"answer_not_matching_behavior": "(C)"}, "text", r"line 2: .* lists the option '\(C\)' .*, got options A, B"),
        (
            {"question": "Now or then?"},
            "text",
            r"line 2: .* lists the option '\(A\)' .*, got options none; take the answer's letter",
        ),
    ],
)
def test_a_bad_item_is_told_with_its_line(write, change, form, message):
    with pytest.raises(DataError, match=rf"items\.jsonl, {message}"):
        behaviour_pairs(write(LISTED, LISTED | change), form=form)


def test_an_unknown_form_and_a_missing_file_are_refused(write, tmp_path):
    with pytest.raises(InputError, match="expected an answer form among letter, text, got 'word'"):
        behaviour_pairs(write(LISTED), form="word")
    message = r"expected a JSONL file of questions or a built-in set \(.*\), got '.*none\.jsonl', which is no file"
    with pytest.raises(DataError, match=message):
        behaviour_pairs(tmp_path / "none.jsonl")


@pytest.mark.skipif(
    not GIVEN.is_dir(), reason=f"no model-written evaluations in {GIVEN}; STEERSMAN_DATA names a folder"
)
def test_real_items_are_read_in_both_forms():
    files = sorted(GIVEN.glob("*.jsonl"))
    assert files
    for path in files:
        made = behaviour_pairs(path, split=None)
        assert len(made) > 900
        letters = {side.completion for pair in made for side in (pair.positive, pair.negative)}
        assert letters in ({"A", "B"}, {"Yes", "No"}), path.name
        if "A" in letters:
            texts = behaviour_pairs(path, split=None, form="text")
            assert len(texts) == len(made)
            assert all(pair.positive.completion in pair.positive.prompt for pair in texts)
            assert not any("I choose (" in pair.positive.prompt for pair in texts)
