"""How strictly an LLM's answer is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.judges import Exchange
from steersman.judges.grading import QUESTIONS, AnswerError, metrics_of, read_answer, wanted

BOTH = ("behaviour", "coherence")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*QUESTIONS, "x"]), inner, max_size=3),
    max_leaves=5,
)


@given(st.integers(1, 10), st.integers(1, 10), st.booleans())
def test_a_right_answer_is_read_exactly(behaviour, coherence, refused):
    answer = {"coherence": coherence, "behaviour": behaviour, "refusal": "yes" if refused else "no"}
    verdict = read_answer((*BOTH, "refusal"), "a", f"\n {json.dumps(answer)} ")
    assert dict(verdict.values) == {
        "behaviour_by_a": behaviour,
        "coherence_by_a": coherence,
        "refusal_by_a": float(refused),
        "score_by_a": behaviour * coherence,
    }
    assert verdict.words == f"behaviour: {behaviour}, coherence: {coherence}, refusal: {answer['refusal']}"


@given(st.text(max_size=30) | JSON.map(json.dumps))
def test_any_other_answer_is_refused(answer):
    try:
        verdict = read_answer(BOTH, "a", answer)
    except AnswerError:
        return
    # What was accepted says itself, to the letter, what was read.
    said = json.loads(answer.strip().strip("`").removeprefix("json"))
    assert {f"{key}_by_a": value for key, value in said.items()} == {
        name: value for name, value in verdict.values.items() if not name.startswith("score")
    }
    assert all(type(value) is int and 1 <= value <= 10 for value in said.values())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "the answer is empty"),
        ("  \n", "the answer is empty"),
        ("7", "not one JSON object: '7'"),
        ('[{"behaviour": 3, "coherence": 4}]', "not one JSON object"),
        ('{"behaviour": 3, "coherence": 4} ', None),
        ('Sure! {"behaviour": 3, "coherence": 4}', "not one JSON object: 'Sure!"),
        ('{"behaviour": 3, "coherence": 4}{"behaviour": 3, "coherence": 4}', "not one JSON object"),
        ('{"behaviour": 3}', r"has the keys \['behaviour'\], expected behaviour, coherence"),
        ('{"behaviour": 3, "coherence": 4, "score": 12}', "has the keys"),
        ('{"behaviour": 3, "coherence": 4, "behaviour": 5}', "the same key twice"),
        ('{"behaviour": 11, "coherence": 4}', "behaviour is 11, expected an integer from 1 to 10"),
        ('{"behaviour": 0, "coherence": 4}', "behaviour is 0"),
        ('{"behaviour": -3, "coherence": 4}', "behaviour is -3"),
        ('{"behaviour": 3.5, "coherence": 4}', "behaviour is 3.5"),
        ('{"behaviour": 3.0, "coherence": 4}', "behaviour is 3.0"),
        ('{"behaviour": 1e1, "coherence": 4}', "behaviour is 10.0"),
        ('{"behaviour": "3", "coherence": 4}', "behaviour is '3'"),
        ('{"behaviour": true, "coherence": 4}', "behaviour is True"),
        ('{"behaviour": null, "coherence": 4}', "behaviour is None"),
        ('{"behaviour": NaN, "coherence": 4}', "behaviour is nan"),
        ('{"behaviour": 3, "coherence": Infinity}', "coherence is inf"),
        ('```json\n{"behaviour": 3, "coherence": 4}\n```', None),
        ('```\n{"behaviour": 3, "coherence": 4}\n```', None),
        ('```json\n{"behaviour": 3, "coherence": 4}\n``` done', "not one JSON object"),
        ('{"a":' * 50_000, "not one JSON object"),
        ("9" * 10_000, "not one JSON object"),
    ],
)
def test_answers_by_hand(answer, message):
    if message is None:
        assert dict(read_answer(BOTH, "a", answer).values) == {
            "behaviour_by_a": 3,
            "coherence_by_a": 4,
            "score_by_a": 12,
        }
        return
    with pytest.raises(AnswerError, match=message) as caught:
        read_answer(BOTH, "a", answer)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("said", ["Yes", "YES", "true", "", "maybe", " yes"])
def test_a_refusal_is_yes_or_no(said):
    with pytest.raises(AnswerError, match="expected yes or no"):
        read_answer(("refusal",), "a", json.dumps({"refusal": said}))
    with pytest.raises(AnswerError, match="expected yes or no"):
        read_answer(("refusal",), "a", '{"refusal": true}')


@given(st.text(), st.text(), st.text())
def test_an_exchange_cannot_break_out_of_its_frame(prompt, completion, concept):
    text = wanted(BOTH, Exchange(prompt, completion, concept))
    line = text.removeprefix("The exchange:\n").split("\n\nAnswer with")[0]
    assert "\n" not in line
    assert json.loads(line) == {"concept": concept, "message": prompt, "reply": completion}


def test_the_example_of_the_form_is_one():
    for questions in (BOTH, ("refusal",), tuple(QUESTIONS)):
        example = wanted(questions, Exchange("", "", "")).rpartition("other values: ")[2]
        assert set(read_answer(questions, "a", example).values) == {m.name for m in metrics_of(questions, "a")}


def test_only_both_ratings_make_a_score():
    assert [m.name for m in metrics_of(("behaviour",), "a")] == ["behaviour_by_a"]
    assert [(m.name, m.kind) for m in metrics_of(("refusal", *BOTH), "a")] == [
        ("refusal_by_a", "rate"),
        ("behaviour_by_a", "mean"),
        ("coherence_by_a", "mean"),
        ("score_by_a", "mean"),
    ]
