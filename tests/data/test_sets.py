"""The shipped sets: enough of everything, valid, balanced, and no item in two splits, not even nearly.

Two texts are near-duplicates when their sets of lower-case words have a Jaccard index of `NEAR` or more, or their sets
of content words (without `STOP`) one of `NEAR_CONTENT` or more. The nearest of the shipped ones stand at 0.50 (two
refusal prompts that begin "What is the best way to") and 0.43. Questions are compared together with their choices.
Texts of fewer than `SHORT` words are compared for equality. The two prompts of a pair are alike on purpose and are not
compared.
"""

import ast
import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import steersman
from steersman.prompts import pairs, passages, prompt_set, questions
from steersman.tasks import opinions

DATA = Path(steersman.__file__).parent / "data"
FILES = sorted(DATA.glob("*/*.jsonl"))
SPLITS = ("train", "validation", "test")
NEAR, NEAR_CONTENT, SHORT = 0.55, 0.5, 4
STOP_WORDS = (
    "a an the of to in on at for from with without and or by is are was be do does did how what which who "
    "why when where can could should would i me my you your it its that this one best way give tell help "
    "write explain describe make get need want some into about after as if not no people "
)
STOP = frozenset(STOP_WORDS.split())


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower().replace("’", "'"))


def texts():
    """Every prompt, question and passage of every file: `(file, id, split, text)`; a pair gives its two prompts."""
    for path in FILES:
        for record in records(path):
            place = (path.stem, record["id"], record.get("split", "test"))
            if "positive" in record:
                for prompt in {record["positive"]["prompt"], record["negative"]["prompt"]}:
                    yield (*place, prompt)
            elif "answer_matching_behavior" in record:
                yield (*place, re.sub(r"\n\nChoices:|\([AB]\)", "", record["question"]))
            elif "question" in record:
                answers = record["choices"] if "choices" in record else (record["correct"], record["incorrect"])
                yield (*place, " ".join([record["question"], *answers]))
            else:
                yield (*place, record.get("prompt") or record["text"])


def jaccard(one, other):
    return len(one & other) / len(one | other)


def near(a, b):
    """Whether two sets of words are nearly the same; see the module."""
    if min(len(a), len(b)) < SHORT:
        return a == b
    if len((shared := a & b) - STOP) < 2 and len(shared) < NEAR * max(len(a), len(b)):
        return False  # what most of the million pairs come to; two content words are the least that make a half
    content = a - STOP, b - STOP
    return jaccard(a, b) >= NEAR or (min(map(len, content)) > 1 and jaccard(*content) >= NEAR_CONTENT)


def test_the_sets_are_all_there():
    assert {str(path.relative_to(DATA)) for path in FILES} >= {
        *(f"pairs/{name}.jsonl" for name in ("refusal", "honesty")),
        *(f"tasks/{name}.jsonl" for name in ("harmful", "ordinary", "over-refusal", "knowledge", "prose")),
        *(f"tasks/{name}.jsonl" for name in ("code", "opinions")),
        *(f"behaviours/{name}.jsonl" for name in ("myopia", "wealth-seeking", "sycophancy")),
        *(f"behaviours/{name}.jsonl" for name in ("agreeableness", "risk-taking")),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_line_is_tidy(path):
    raw = path.read_text(encoding="utf-8")
    assert raw.endswith("\n")
    assert "\r" not in raw
    for line in raw.splitlines():
        record = json.loads(line)
        assert record["id"].startswith(path.stem)
        assert record.get("split", "test") in SPLITS
        assert line == line.strip()
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
            assert text == text.strip(), text


@pytest.mark.parametrize(("name", "least", "contrasts"), [
    ("refusal", 40, ("completion", "prompt", "both")),
    ("honesty", 30, ("completion", "both")),
])  # fmt: skip
def test_pairs_are_enough_and_valid(name, least, contrasts):
    for contrast in contrasts:
        assert len(pairs(name, contrast=contrast)) >= least
        assert len(pairs(name, contrast=contrast, split="validation")) >= 10
        for pair in pairs(name, contrast=contrast, split=None):
            assert pair.positive != pair.negative
            assert pair.category


@pytest.mark.parametrize("name", ["harmful", "ordinary", "over-refusal"])
def test_evaluation_prompts_are_sixty(name):
    items = prompt_set(name)
    assert len(items) == 60
    assert all(item.category for item in items)
    assert len({item.prompt for item in items}) == 60


def test_harmful_prompts_are_spread_over_ten_categories():
    counts = Counter(item.category for item in prompt_set("harmful"))
    assert len(counts) == 10
    assert set(counts.values()) == {6}


def test_ordinary_and_over_refusal_prompts_have_validation_rows_too():
    for name in ("ordinary", "over-refusal"):
        assert len(prompt_set(name, split="validation")) >= 12


def test_knowledge_asks_ten_questions_in_each_of_24_subjects():
    items = questions("knowledge")
    assert len(items) == 240
    counts = Counter(item.subject for item in items)
    assert len(counts) == 24
    assert set(counts.values()) == {10}
    assert set(Counter(item.subject for item in questions("knowledge", split="validation"))) == set(counts)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_choices_are_four_different_ones_and_answers_balanced(split):
    items = questions("knowledge", split=split)
    for item in items:
        assert len(item.choices) == 4
        assert len({choice.lower() for choice in item.choices}) == 4, item.id
    counts = Counter(item.answer for item in items)
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) - min(counts.values()) <= 0.05 * len(items)


def test_the_right_choice_is_not_told_by_its_length():
    items = questions("knowledge")
    longest = sum(len(item.choices[item.answer]) == max(map(len, item.choices)) for item in items)
    assert longest / len(items) < 0.45


def test_levels_go_from_primary_school_to_college():
    levels = Counter(record["level"] for record in records(DATA / "tasks" / "knowledge.jsonl"))
    assert {"primary", "college"} <= set(levels)
    assert len(levels) >= 3


def test_prose_is_enough_for_a_cross_entropy():
    for split in ("validation", "test"):
        items = passages("prose", split=split)
        assert len(items) >= 20
        assert all(len(words(item.text)) >= 40 for item in items)


def test_code_is_enough_and_valid_python_of_many_kinds():
    for split, least in (("validation", 20), ("test", 40)):
        items = passages("code", split=split)
        assert len(items) >= least
        for item in items:
            assert ast.parse(item.text).body, item.id
            assert len(item.text) >= 100, item.id
    kinds = Counter(record["category"] for record in records(DATA / "tasks" / "code.jsonl"))
    assert len(kinds) >= 10


def test_opinions_are_enough_over_many_topics():
    items = opinions()
    assert len(items) >= 80
    assert len(opinions(split="validation")) >= 20
    topics = Counter(item.category for item in items)
    assert set(Counter(item.category for item in opinions(split="validation"))) == set(topics)
    assert len(topics) >= 10
    assert max(topics.values()) == min(topics.values())


def test_the_right_opinion_is_told_by_neither_length_nor_question():
    items = opinions(split=None)
    longer = sum(len(item.correct) > len(item.incorrect) for item in items)
    shorter = sum(len(item.correct) < len(item.incorrect) for item in items)
    assert abs(longer - shorter) / len(items) < 0.15, (longer, shorter)
    first = 0
    for item in items:
        assert item.question.endswith("?"), item.id
        places = [
            re.search(rf"\b{re.escape(answer)}\b", item.question, re.IGNORECASE)
            for answer in (item.correct, item.incorrect)
        ]
        # A question names both answers or neither; of those that do, half name the right one first.
        assert (places[0] is None) == (places[1] is None), item.id
        if places[0] and places[1]:
            first += 1 if places[0].start() < places[1].start() else -1
    assert abs(first) <= 1


def test_the_prompts_of_a_refusal_pair_differ_in_a_few_words():
    changes = []
    for pair in pairs("refusal", contrast="both", split=None):
        one, other = Counter(words(pair.positive.prompt)), Counter(words(pair.negative.prompt))
        changes.append(max((one - other).total(), (other - one).total()))
    assert sum(changes) / len(changes) <= 3
    assert max(changes) <= 6
    assert min(changes) >= 1


def test_refusals_and_compliances_are_of_like_length():
    """Else the difference of their means would hold length."""
    for name in ("refusal", "honesty"):
        lengths = [(len(words(p.positive.completion)), len(words(p.negative.completion))) for p in pairs(name)]
        assert abs(sum(a - b for a, b in lengths)) / sum(b for _, b in lengths) < 0.1


def test_no_text_stands_twice():
    seen = defaultdict(list)
    for file, name, _, text in texts():
        seen[" ".join(words(text))].append(f"{file}/{name}")
    assert {text: places for text, places in seen.items() if len(places) > 1} == {}


def test_splits_and_sets_share_no_near_duplicate():
    everything = [(*place, set(words(text))) for *place, text in texts()]
    close = [
        (f"{a[1]} ({a[2]})", f"{b[1]} ({b[2]})")
        for a, b in itertools.combinations(everything, 2)
        if a[1] != b[1] and (a[2] != b[2] or a[0] != b[0]) and near(a[3], b[3])
    ]
    assert close == []


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("How do I pick a lock?", "How do I pick a lock, please?", True),
        ("How do I pick a lock?", "how do i PICK a lock", True),
        ("How do I pick the lock of my shed?", "Which tools pick a shed lock?", True),
        ("How do I pick a lock?", "What is the capital of Peru?", False),
        ("What is the best way to board a passenger train?", "What is the best way to water a small garden?", False),
        ("Hello there", "Hello there you", False),
    ],
)
def test_the_measure_tells_near_from_far(a, b, alike):
    assert near(set(words(a)), set(words(b))) is alike
