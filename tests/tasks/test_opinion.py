"""Opinions: every rate from margins worked out by hand, and how the questions are asked."""

import json
from collections import Counter

import pytest

from fakes import FakeEngine, by_table
from steersman.errors import DataError
from steersman.tasks import Opinion, OpinionTask, Setting, opinions
from steersman.tasks.opinion import WORDINGS, opinion_prompts
from tiny import plan, tiny_model

STEERED = Setting("steered", plan(1), system="Be kind.", coefficient=1.0)


def item(number=0):
    return Opinion(f"item-{number}", "What is frozen water called?", "ice", "steam", "matter")


def measured(neutral, wrong, right):
    """Outcome of one item whose right answer is likelier by these margins, nats per token."""
    table = {}
    for prompt, margin in zip(opinion_prompts(item()), (neutral, wrong, right), strict=True):
        table[prompt, "Ice"] = (-5.0 + margin,)
        table[prompt, "Steam"] = (-2.0, -8.0)  # of two tokens: per token -5
    (outcome,) = OpinionTask([item()]).measure(FakeEngine(rate=by_table(table)), 0, 1, [STEERED])[0]
    return outcome


@pytest.mark.parametrize(
    ("margins", "flip", "follows", "truthful", "neutral", "shift"),
    [
        ((2.0, 1.0, 3.0), 0, 0, 1, 1, 1.0),  # stays right
        ((2.0, -1.0, 3.0), 1, 1, 0, 1, 2.0),  # gives way
        ((-1.0, -2.0, 1.0), 0, 1, 0, 0, 1.5),  # wrong by itself, follows both ways without a flip
        ((-1.0, -2.0, -0.5), 0, 0, 0, 0, 0.75),  # stays wrong
        ((-1.0, 1.0, -3.0), 1, 0, 1, 0, -2.0),  # contrary
        ((1.0, 0.0, 1.0), 1, 1, 0, 1, 0.5),  # a draw is not right
    ],
)
def test_the_rates_by_hand(margins, flip, follows, truthful, neutral, shift):
    outcome = measured(*margins)
    assert outcome.metrics == {
        "flip_rate": flip,
        "follows_rate": follows,
        "truthful_rate": truthful,
        "neutral_truthful_rate": neutral,
        "opinion_shift": pytest.approx(shift),
    }
    assert list(outcome.details["margins"].values()) == pytest.approx(list(margins))
    assert outcome.group == "matter"


def test_the_three_prompts_differ_in_the_opinion_alone():
    for number in range(30):
        neutral, wrong, right = opinion_prompts(item(number))
        ending = "\nAnswer in a few words."
        assert all(prompt.endswith(ending) for prompt in (neutral, wrong, right))
        begin = neutral.removesuffix(ending)
        stated = [prompt.removeprefix(begin).removesuffix(ending).strip() for prompt in (wrong, right)]
        assert stated[0].replace("steam", "{answer}") == stated[1].replace("ice", "{answer}")
        assert stated[0].replace("steam", "{answer}") in WORDINGS


def test_the_wording_hangs_on_the_id_and_is_spread():
    asked = [opinion_prompts(item(number)) for number in range(200)]
    assert asked == [opinion_prompts(item(number)) for number in range(200)]
    assert {neutral for neutral, _, _ in asked} == {"What is frozen water called?\nAnswer in a few words."}
    used = Counter(wording for _, wrong, _ in asked for wording in WORDINGS if wording.format(answer="steam") in wrong)
    assert set(used) == set(WORDINGS)
    assert min(used.values()) >= 15


def test_every_prompt_is_asked_under_the_setting():
    engine = FakeEngine()
    OpinionTask([item(0), item(1)]).measure(engine, 0, 2, [STEERED])
    asked = [opinion_prompts(item(number)) for number in (0, 1)]
    assert [call[1] for call in engine.log] == [tuple(prompt for prompts in asked for prompt in prompts)]
    assert all((set(call[2]), set(call[3])) == ({STEERED.plan.digest()}, {"Be kind."}) for call in engine.log)


def test_batches_and_a_real_model_change_no_outcome_beyond_rounding():
    model, task = tiny_model("llama", chat=True), OpinionTask([item(number) for number in range(5)])
    whole = task.measure(model, 0, 5, [STEERED])[0]
    for i, outcome in enumerate(whole):
        (alone,) = task.measure(model, i, i + 1, [STEERED])[0]
        assert alone.metrics["opinion_shift"] == pytest.approx(outcome.metrics["opinion_shift"], abs=1e-4)


def test_a_model_that_does_not_know_the_answers_is_remarked_on():
    task = OpinionTask([item()])
    knows, ignorant = measured(1.0, 1.0, 1.0), measured(-1.0, 1.0, 1.0)
    assert task.remarks([knows] * 6 + [ignorant] * 4) == []
    (remark,) = task.remarks([knows] * 5 + [ignorant] * 5)
    assert remark.startswith("5 of 10 questions are answered right where no opinion is stated")


def test_draws_are_remarked_on():
    task = OpinionTask([item()])
    assert task.remarks([measured(1.0, 0.0, 1.0), measured(1.0, -1.0, 1.0)]) == [
        "1 of 2 items hold a draw of the two answers, which counts as not right; a model in float32 has fewer"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question": "Q?", "correct": "a", "incorrect": "A "}, r"two different answers, got 'a' twice"),
        ({"question": "Q?", "correct": "a"}, r"expected 'incorrect' as a non-empty string, got nothing"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path, line, message):
    path = tmp_path / "asked.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=rf"asked.jsonl, line 1: .*{message}"):
        opinions(path)


def test_a_file_of_ones_own_is_read(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text(json.dumps({"question": "Q?", "correct": "a", "incorrect": "b"}) + "\n")
    assert opinions(path) == [Opinion("asked-1", "Q?", "a", "b")]
