"""The built-in behaviour sets: balanced in letters and lengths, apart in topics, hardly told by words, and readable."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from steersman.builders import behaviour_pairs
from steersman.errors import DataError, InputError
from steersman.prompts import built_in_sets
from steersman.samples import behaviour_items, question_items
from steersman.tasks import BehaviourTask
from steersman.tasks.behaviour import _read
from steersman.tasks.named import TaskOptions, tasks_named

NAMES = ("agreeableness", "myopia", "risk-taking", "sycophancy", "wealth-seeking")
SIZES = {"train": 60, "validation": 20, "test": 40}
FRAME = 5
"""So many first words make a sentence frame: `Which of the two do` and the like."""

each_set = pytest.mark.parametrize("name", NAMES)


def records(name):
    return [json.loads(line) for line in built_in_sets("behaviours")[name].read_text(encoding="utf-8").splitlines()]


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def choices(name, split):
    """The matching and the other choice of every item, as two lists."""
    made = behaviour_pairs(name, form="text", split=split)
    return [pair.positive.completion for pair in made], [pair.negative.completion for pair in made]


def stems(name):
    return [_read(item).stem for item in behaviour_items(name, split=None)]


def test_the_five_sets_are_there_and_nothing_else():
    assert tuple(built_in_sets("behaviours")) == NAMES


@each_set
def test_splits_are_of_their_sizes_and_share_no_topic(name):
    held = records(name)
    assert Counter(record["split"] for record in held) == SIZES
    topics = {split: {r["category"] for r in held if r["split"] == split} for split in SIZES}
    assert all(topics[a].isdisjoint(topics[b]) for a, b in itertools.combinations(SIZES, 2))
    assert set(Counter(record["category"] for record in held).values()) == {5}
    assert {split: len(behaviour_pairs(name, split=split)) for split in SIZES} == SIZES
    ids = [pair.id for split in SIZES for pair in behaviour_items(name, split=split)]
    assert sorted(ids) == sorted(record["id"] for record in held)


@each_set
def test_fields_are_those_of_the_model_written_evaluations(name):
    for record in records(name):
        assert set(record) == {
            "id", "split", "category", "question", "answer_matching_behavior", "answer_not_matching_behavior"
        }  # fmt: skip
        answers = {record["answer_matching_behavior"], record["answer_not_matching_behavior"]}
        assert answers == {"(A)", "(B)"}, record["id"]
        assert re.search(r"\S\n\nChoices:\n \(A\) \S[^\n]*\n \(B\) \S[^\n]*\Z", record["question"]), record["id"]


@each_set
def test_the_matching_choice_is_a_in_half_of_every_split_and_in_no_pattern(name):
    for split, size in SIZES.items():
        letters = "".join(r["answer_matching_behavior"][1] for r in records(name) if r["split"] == split)
        assert letters.count("A") == size // 2
        # As many changes from one item to the next as of shuffled letters, within three standard deviations.
        changes = sum(a != b for a, b in itertools.pairwise(letters))
        assert abs(changes - size / 2) < 3 * (size**0.5) / 2, letters


@each_set
@pytest.mark.parametrize("split", [None, *SIZES])
def test_the_matching_choice_is_not_told_by_its_length(name, split):
    matching, other = choices(name, split)
    longer = sum(len(a) > len(b) for a, b in zip(matching, other, strict=True)) / len(matching)
    shorter = sum(len(a) < len(b) for a, b in zip(matching, other, strict=True)) / len(matching)
    assert 0.4 <= longer <= 0.6
    assert abs(longer - shorter) < 0.15
    assert abs(sum(map(len, matching)) / sum(map(len, other)) - 1) < 0.1


@each_set
def test_the_matching_choice_is_not_the_one_that_the_question_names_first(name):
    """As far as words of four letters and more tell that a question names both of its options."""
    first: list[bool] = []
    for stem, *both in zip(stems(name), *choices(name, None), strict=True):
        one, other = (set(words(choice)) for choice in both)
        own = [{word for word in alone if len(word) > 3} for alone in (one - other, other - one)]
        places = [[at for at, word in enumerate(words(stem)) if word in names] for names in own]
        if all(places):
            first.append(min(places[0]) < min(places[1]))
    # A few sets hardly name their options at all; the bound allows what a fair coin does in 95 of 100 sets.
    assert abs(sum(first) - len(first) / 2) <= max(1.96 * len(first) ** 0.5 / 2, 1)


@each_set
def test_two_choices_end_alike(name):
    """A full stop at one of them alone would set it apart."""
    for one, other in zip(*choices(name, None), strict=True):
        assert one[0].isupper() == other[0].isupper(), (one, other)
        assert (one[-1] in ".!?") == (other[-1] in ".!?"), (one, other)


@each_set
def test_the_choices_are_hardly_told_by_single_words(name):
    def features(*sides):
        return [text.lower() for side in sides for text in side], np.repeat([1, 0], [len(side) for side in sides])

    counter = CountVectorizer(token_pattern=r"[a-z0-9']+", binary=True)
    texts, labels = features(*choices(name, "train"))
    fitted = LogisticRegression(max_iter=1000).fit(counter.fit_transform(texts), labels)
    texts, labels = features(*choices(name, "test"))
    assert fitted.score(counter.transform(texts), labels) < 0.75


@each_set
def test_no_item_stands_twice_or_nearly(name):
    asked = [set(words(stem)) for stem in stems(name)]
    assert max(len(a & b) / len(a | b) for a, b in itertools.combinations(asked, 2)) < 0.6
    pairs = Counter(frozenset(map(str.lower, two)) for two in zip(*choices(name, None), strict=True))
    assert [set(two) for two, count in pairs.items() if count > 2] == []  # two persons may be asked one thing


@each_set
def test_questions_are_of_many_frames_and_lengths(name):
    asked = [words(stem) for stem in stems(name)]
    assert max(Counter(tuple(one[:FRAME]) for one in asked).values()) <= 5
    lengths = sorted(map(len, asked))
    assert lengths[-1] > 3 * lengths[0]
    assert len(set(lengths)) >= 20


@each_set
def test_every_item_is_understood_by_the_task_and_swapped(name):
    (task,) = tasks_named([f"behaviour={name}"])
    assert isinstance(task, BehaviourTask)
    assert task.name == f"behaviour:{name}"
    assert list(task.items) == behaviour_items(name) == behaviour_pairs(name, split="test")
    for item in behaviour_items(name, split=None):
        asked = _read(item)
        assert len(asked.options) == 2
        assert asked.words is not None
        assert asked.stem
        assert not any(word in asked.stem for word in ("Choices:", "(A)", "(B)"))
    assert len(tasks_named([f"behaviour={name}"], options=TaskOptions(limit=8))[0].items) == 8


def test_a_limit_takes_as_many_of_each_word(tmp_path):
    lines = [
        {"question": f"Is it {i}?", "answer_matching_behavior": a, "answer_not_matching_behavior": b}
        for i in range(20)
        for a, b in (("Yes", "No"), ("No", "Yes"))
    ]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (task,) = tasks_named([f"behaviour={path}"], options=TaskOptions(limit=10))
    assert Counter(item.positive.completion for item in task.items) == {"Yes": 5, "No": 5}


def test_a_name_that_is_no_set_is_refused_with_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = "agreeableness, myopia, risk-taking, sycophancy, wealth-seeking"
    with pytest.raises(DataError, match=rf"expected a built-in set \({listed}\), .* got 'honour'"):
        behaviour_items("honour")
    with pytest.raises(DataError, match=rf"or a built-in set \({listed}\), got 'honour', which is no file"):
        behaviour_pairs("honour")
    with pytest.raises(InputError, match=rf"behaviour=PATH or a built-in set \({listed}\), got 'behaviour'"):
        tasks_named(["behaviour"])
    with pytest.raises(DataError, match=r"expected a built-in set .*knowledge.* got 'myopia'"):
        question_items("myopia")


def test_a_set_s_name_goes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("myopia").write_text("not JSON", encoding="utf-8")
    assert len(behaviour_items("myopia")) == 40
    with pytest.raises(DataError, match="line 1"):
        behaviour_pairs("./myopia")
