"""Persona pairs: the same cut statement on both sides, and one word between the instructions."""

import pytest

from steersman.builders import PERSONA_TEMPLATES, persona_pairs, statements
from steersman.errors import DataError, InputError

SHORT = ("Be {concept}.", "Act {concept} now.")


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "bank.txt"
    path.write_text("\ufeffone two three\n\n  four five six seven  \neight\n", encoding="utf-8")
    return path


def test_every_cut_of_every_statement_is_said_by_both_personas(bank):
    made = persona_pairs("warm", "cold", source=bank, templates=SHORT, limit=None)
    texts = ["one", "one two", "four", "four five", "four five six"]
    assert [(p.positive.prompt, p.positive.completion) for p in made] == [
        (form, text) for text in texts for form in ("Be warm.", "Act warm now.")
    ]
    assert [(p.negative.prompt, p.negative.completion) for p in made] == [
        (form, text) for text in texts for form in ("Be cold.", "Act cold now.")
    ]


def test_sides_differ_in_the_concept_alone():
    for pair in persona_pairs("very kind", "cruel", limit=64):
        assert pair.positive.completion == pair.negative.completion
        assert pair.positive.prompt.replace("very kind", "cruel") == pair.negative.prompt
        assert "{" not in pair.positive.prompt


def test_every_other_word_and_a_lead(bank):
    made = persona_pairs("warm", "cold", source=bank, templates=SHORT[:1], every=2, lead=" ", limit=None)
    assert [pair.positive.completion for pair in made] == [" one two", " four five"]


def test_no_pair_stands_twice_and_ids_are_unique():
    made = persona_pairs("warm", "cold", limit=None)
    assert (
        len({pair.id for pair in made}) == len(made) == len({(p.positive.prompt, p.positive.completion) for p in made})
    )
    assert len(made) > 4_000


def test_the_sample_follows_the_seed_and_spreads():
    first, again, other = (persona_pairs("warm", "cold", limit=100, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert set(first) <= set(persona_pairs("warm", "cold", limit=None))
    assert len({pair.id.split("-")[0] for pair in first}) > 60  # statements
    assert {pair.id.split("-")[2] for pair in first} == {str(k + 1) for k in range(len(PERSONA_TEMPLATES))}


def test_the_sample_does_not_depend_on_the_concept():
    a, b = (persona_pairs(concept, "dull", limit=20) for concept in ("warm", "bright"))
    assert [pair.positive.completion for pair in a] == [pair.positive.completion for pair in b]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concept": " "}, "expected a concept and another word for its opposite, got '' and 'cold'"),
        ({"opposite": "Warm "}, "another word for its opposite, got 'warm' and 'Warm'"),
        ({"templates": ["Be kind."]}, r"expected templates with \{concept\} in them, got \['Be kind\.'\]"),
        ({"templates": []}, "expected templates with"),
        ({"every": 0}, "expected to cut after every 1 or more words, got 0"),
        ({"limit": 0}, "expected a limit of at least 1, got 0"),
    ],
)
def test_what_makes_no_contrast_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        persona_pairs(**({"concept": "warm", "opposite": "cold"} | change))


def test_statements_too_short_to_cut_are_refused(bank):
    with pytest.raises(DataError, match="expected statements of more than 4 words to cut, got none"):
        persona_pairs("warm", "cold", source=bank, every=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "expected at least one statement, got none"),
        (b"\xff\xfe", "expected a text file"),
        (None, "text file"),
    ],
)
def test_unusable_statements_are_refused(tmp_path, content, message):
    path = tmp_path / "bank.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        statements(path)
