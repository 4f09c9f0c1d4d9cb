"""Knowledge: MMLU's text to the character, its scoring worked out by hand, shots, ties, and a collapse called out."""

from dataclasses import replace

import numpy as np
import pytest

from fakes import FakeEngine, by_table
from steersman.errors import InputError
from steersman.evaluation import evaluate
from steersman.plan import Plan
from steersman.prompts import Question
from steersman.tasks import KnowledgeTask, Outcome, Setting
from steersman.tasks.knowledge import (
    LETTERS,
    MOST_SHOTS,
    letter_options,
    letter_prompt,
    text_options,
    text_prompt,
)
from tiny import plan, tiny_model

STEERED = Setting("steered", plan(1), system="Be kind.", coefficient=1.0)
PLAIN = Setting("unsteered")
FOUR = ("one", "two", "three", "four")


def question(number: int, answer: int, choices: tuple[str, ...] = FOUR, subject: str = "small_sums") -> Question:
    return Question(f"q{number}", subject, f"What is {number}?", choices, answer)


EXAMPLES = [
    *(replace(question(i, i % 4), id=f"dev-{i}") for i in (10, 11, 12, 13, 14, 15)),
    *(replace(question(i, i % 4, subject="big_sums"), id=f"dev-{i}") for i in (20, 21, 22, 23, 24)),
]


class Recorder(FakeEngine):
    """Also notes whether prompts were to be wrapped in a chat template."""

    def score_options(self, prompts, options, plans=None, *, system=None, batch_size=None, chat=True):
        self.asked = [
            *getattr(self, "asked", []),
            *((prompt, tuple(row), chat) for prompt, row in zip(prompts, options, strict=True)),
        ]
        return super().score_options(prompts, options, plans, system=system, batch_size=batch_size, chat=chat)


def measured(task, engine=None, setting=STEERED):
    return task.measure(engine or FakeEngine(), 0, len(task.items), [setting])[0]


def knowledge_table(asked, letters, texts):
    table = {(letter_prompt(asked), letter): (value,) for letter, value in zip(LETTERS, letters, strict=False)}
    return table | {(text_prompt(asked), choice): value for choice, value in zip(asked.choices, texts, strict=True)}


# The text.

ZERO_SHOT = """The following are multiple choice questions (with answers) about small sums.

What is 2?
A. one
B. two
C. three
D. four
Answer:"""

TWO_SHOT = """The following are multiple choice questions (with answers) about small sums.

What is 10?
A. one
B. two
C. three
D. four
Answer: C

What is 11?
A. one
B. two
C. three
D. four
Answer: D

What is 2?
A. one
B. two
C. three
D. four
Answer:"""

TWO_SHOT_TEXTS = """The following are questions (with answers) about small sums.

Question: What is 10?
Answer: three

Question: What is 11?
Answer: four

Question: What is 2?
Answer:"""

TWO_SHOT_CHAT = """What is 10?
A. one
B. two
C. three
D. four
Answer: C

What is 11?
A. one
B. two
C. three
D. four
Answer: D

What is 2?
A. one
B. two
C. three
D. four
Answer with the letter alone."""


@pytest.mark.parametrize(
    ("form", "shots", "scoring", "prompt", "options"),
    [
        ("plain", 0, "letter", ZERO_SHOT, (" A", " B", " C", " D")),
        ("plain", 2, "letter", TWO_SHOT, (" A", " B", " C", " D")),
        ("plain", 2, "text", TWO_SHOT_TEXTS, (" one", " two", " three", " four")),
        ("chat", 2, "letter", TWO_SHOT_CHAT, ("A", "B", "C", "D")),
        ("chat", 0, "text", "What is 2?\nAnswer in a few words.", FOUR),
    ],
)
def test_the_engine_reads_the_text_to_the_character(form, shots, scoring, prompt, options):
    engine = Recorder()
    # What stands around a question is no part of it.
    asked = replace(question(2, 1), question=" What is 2?\n")
    task = KnowledgeTask([asked], form=form, scoring=(scoring,), shots=shots, examples=EXAMPLES)
    measured(task, engine)
    assert engine.asked == [(prompt, options, form == "chat")]


def test_a_question_without_a_subject_has_a_heading_without_one():
    asked = question(2, 1, subject="")
    assert letter_prompt(asked, form="plain").startswith(
        "The following are multiple choice questions (with answers).\n\n"
    )
    assert text_prompt(asked, form="plain").startswith("The following are questions (with answers).\n\nQuestion: ")


def test_there_are_as_many_letters_as_choices():
    asked = question(2, 1, ("yes", "no"))
    assert letter_prompt(asked) == "What is 2?\nA. yes\nB. no\nAnswer with the letter alone."
    assert (letter_options(asked), letter_options(asked, "plain")) == (["A", "B"], [" A", " B"])
    assert (text_options(asked), text_options(asked, "plain")) == (["yes", "no"], [" yes", " no"])


@pytest.mark.parametrize("shots", range(MOST_SHOTS + 1))
def test_shots_are_the_first_of_the_own_subject(shots):
    engine = Recorder()
    items = [question(1, 0), question(2, 1, subject="big_sums"), question(3, 2)]
    task = KnowledgeTask(items, form="plain", scoring=("letter",), shots=shots, examples=EXAMPLES)
    measured(task, engine)
    prompts = {prompt.split("What is ")[-1][0]: prompt for prompt, _, _ in engine.asked}
    for number, first in (("1", 10), ("2", 20), ("3", 10)):
        seen = [int(part.split("?")[0]) for part in prompts[number].split("What is ")[1:-1]]
        assert seen == list(range(first, first + shots))


# The scoring.


def test_letters_count_by_their_whole_and_texts_per_token():
    asked = question(2, 1)
    # By letter B; by text "two", the likeliest per token though "one" is likelier as a whole.
    table = knowledge_table(asked, (-2.0, -1.0, -3.0, -4.0), ((-1.5,), (-1.0, -1.0), (-5.0,), (-5.0,)))
    (outcome,) = measured(KnowledgeTask([asked]), FakeEngine(rate=by_table(table)))
    assert outcome.metrics == {"accuracy_letter": 1.0, "accuracy_text": 1.0}
    assert outcome.group == "small_sums"
    assert outcome.details == {
        "subject": "small_sums",
        "answer": 1,
        "letter": 1,
        "letter_logprobs": [-2.0, -1.0, -3.0, -4.0],
        "text": 1,
        "text_logprobs": [-1.5, -1.0, -5.0, -5.0],
    }


@pytest.mark.parametrize("answer", range(4))
def test_each_accuracy_counts_for_itself(answer):
    asked = question(2, answer)
    table = knowledge_table(asked, (-1.0, -2.0, -3.0, -4.0), ((-4.0,), (-3.0,), (-2.0,), (-1.0,)))
    (outcome,) = measured(KnowledgeTask([asked]), FakeEngine(rate=by_table(table)))
    assert outcome.metrics == {"accuracy_letter": float(answer == 0), "accuracy_text": float(answer == 3)}


def test_of_equal_letters_the_first_wins_and_the_tie_is_noted():
    asked = question(2, 1)
    table = knowledge_table(asked, (-2.0, -1.0, -1.0, -4.0), ((-1.5,), (-1.0,), (-5.0,), (-5.0,)))
    (outcome,) = measured(KnowledgeTask([asked]), FakeEngine(rate=by_table(table)))
    assert (outcome.details["letter"], outcome.details["letter_tie"]) == (1, [1, 2])
    assert "text_tie" not in outcome.details


@pytest.mark.parametrize("scoring", [("letter",), ("text",)])
def test_only_what_is_chosen_is_scored(scoring):
    engine = FakeEngine()
    both, one = KnowledgeTask([question(1, 0), question(2, 1)]), KnowledgeTask([question(1, 0)], scoring=scoring)
    name = f"accuracy_{scoring[0]}"
    assert [metric.name for metric in one.metrics] == [name]
    (found,) = measured(one, engine)
    assert len(engine.log) == 1
    assert found.metrics == {name: measured(both)[0].metrics[name]}


def test_questions_with_unlike_numbers_of_choices_are_asked_together():
    asked = [question(1, 0), question(2, 1, ("yes", "no")), question(3, 9, tuple(f"choice {i}" for i in range(10)))]
    task, engine = KnowledgeTask(asked), FakeEngine()
    mixed = task.measure(engine, 0, 3, [STEERED])[0]
    assert [len(call[1]) for call in engine.log] == [3] * 2
    assert mixed == [task.measure(FakeEngine(), i, i + 1, [STEERED])[0][0] for i in range(3)]


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("shots", [0, 1])
def test_neighbours_change_no_outcome_of_a_model(form, shots):
    model = tiny_model("llama", chat=True)
    items = [
        replace(question(i, i % 4), question="What? " * (i % 3 + 1), subject=EXAMPLES[(i % 2) * 6].subject)
        for i in range(5)
    ]
    task = KnowledgeTask(items, form=form, shots=shots, examples=EXAMPLES)
    together = task.measure(model, 0, 5, [Setting("steered", plan(1))])[0]
    for i, outcome in enumerate(together):
        (alone,) = task.measure(model, i, i + 1, [Setting("steered", plan(1))])[0]
        assert alone.item == outcome.item
        for way in ("letter_logprobs", "text_logprobs"):
            assert alone.details[way] == pytest.approx(outcome.details[way], abs=1e-4)


def test_plain_text_is_not_wrapped_and_steering_moves_it():
    model = tiny_model("llama", chat=True)
    task = KnowledgeTask([question(2, 1)], form="plain", scoring=("letter",))
    (plain,) = measured(task, model, PLAIN)
    (steered,) = measured(task, model, Setting("steered", plan(1)))
    expected = model.score([letter_prompt(question(2, 1), form="plain")] * 4, [" A", " B", " C", " D"], chat=False)
    assert plain.details["letter_logprobs"] == pytest.approx([score.total for score in expected], abs=1e-5)
    assert np.abs(np.subtract(steered.details["letter_logprobs"], plain.details["letter_logprobs"])).max() > 1e-3


# Groups.


def test_a_report_has_a_row_for_every_subject():
    subjects = ("small_sums", "big_sums")
    items = [question(i, i % 4, subject=subjects[i % 2]) for i in range(6)]
    report = evaluate(FakeEngine(), [KnowledgeTask(items)], [PLAIN])
    rows = {(row["metric"], row["group"]): row for row in report.groups if row["group"] in subjects}
    assert set(rows) == {(f"accuracy_{way}", group) for way in ("letter", "text") for group in subjects}
    assert all(row["n"] == 3 for row in rows.values())
    for metric in ("accuracy_letter", "accuracy_text"):
        (total,) = (row for row in report.rows if row["metric"] == metric)
        assert total["value"] == pytest.approx(sum(row["value"] for key, row in rows.items() if key[0] == metric) / 2)


# Remarks.


def chosen(counts: dict[int, int], answer: int = 0) -> list[Outcome]:
    letters = [letter for letter, count in counts.items() for _ in range(count)]
    return [Outcome(f"q{i}", {}, {"letter": letter, "answer": answer}) for i, letter in enumerate(letters)]


def test_a_collapse_is_said_with_its_figures():
    (remark,) = KnowledgeTask([]).remarks(chosen({2: 39, 1: 1}, answer=1))
    assert remark == (
        "the letter C was chosen for 39 of 40 questions (98%) and is right for 0 (0%): accuracy by letter tells which "
        "letter the model likes, not what it knows"
    )


@pytest.mark.parametrize(
    "outcomes",
    [
        chosen({2: 19}),  # too few to tell
        chosen({2: 38, 1: 2}),  # 95 % is not above 95 %
        chosen({0: 10, 1: 10, 2: 10, 3: 10}),
        [Outcome(f"q{i}", {}, {"text": 1, "answer": 1}) for i in range(40)],  # letters were not scored
        [],
    ],
)
def test_what_is_no_collapse_is_not_remarked(outcomes):
    assert KnowledgeTask([]).remarks(outcomes) == []


def test_a_model_that_likes_a_letter_is_called_out_in_the_report():
    items = [question(i, i % 4) for i in range(24)]
    engine = FakeEngine(rate=lambda prompt, text, plan, system: (-1.0 if text == "B" else -2.0,))
    (remark,) = evaluate(engine, [KnowledgeTask(items)], [PLAIN]).remarks
    assert remark["remark"].startswith("the letter B was chosen for 24 of 24 questions (100%) and is right for 6 (25%)")


# What an outcome depends on.


def test_everything_that_decides_an_outcome_is_in_the_key():
    items = [question(1, 0)]
    changed = [*EXAMPLES]
    changed[1] = replace(changed[1], answer=0)
    swapped = [EXAMPLES[1], EXAMPLES[0], *EXAMPLES[2:]]
    tasks = [
        KnowledgeTask(items),
        KnowledgeTask(items, form="plain"),
        KnowledgeTask(items, scoring=("letter",)),
        KnowledgeTask(items, scoring=("text",)),
        KnowledgeTask(items, shots=1, examples=EXAMPLES),
        KnowledgeTask(items, shots=2, examples=EXAMPLES),
        KnowledgeTask(items, shots=2, examples=changed),
        KnowledgeTask(items, shots=2, examples=swapped),
    ]
    keys = [task.settings_key() for task in tasks]
    assert len(set(keys)) == len(keys)


def test_what_decides_nothing_is_not_in_the_key():
    items = [question(1, 0)]
    key = KnowledgeTask(items, shots=1, examples=EXAMPLES).settings_key()
    assert KnowledgeTask(items, shots=1, examples=EXAMPLES[:1]).settings_key() == key
    assert KnowledgeTask(items, shots=1, examples=EXAMPLES, scoring=("text", "letter")).settings_key() == key
    assert KnowledgeTask(items, examples=EXAMPLES).settings_key() == KnowledgeTask(items).settings_key()


def test_changed_examples_are_asked_anew_and_the_same_are_not():
    items = [question(i, i % 4) for i in range(3)]
    store: dict[str, Outcome] = {}

    def calls(examples):
        engine = FakeEngine()
        evaluate(engine, [KnowledgeTask(items, shots=1, examples=examples)], [PLAIN], store=store)
        return len(engine.log)

    assert (calls(EXAMPLES), calls(EXAMPLES)) == (2, 0)
    assert calls([replace(EXAMPLES[0], answer=0), *EXAMPLES[1:]]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "html"}, "expected a form among chat, plain, got 'html'"),
        ({"scoring": ()}, r"expected a scoring of one or more of letter, text, got \(\)"),
        ({"scoring": "letter"}, "expected a scoring of one or more of letter, text, got 'letter'"),
        ({"scoring": ("letter", "word")}, "expected a scoring of one or more of letter, text, got"),
        ({"shots": 6}, "expected 0 to 5 shots, got 6"),
        ({"shots": -1}, "expected 0 to 5 shots, got -1"),
        ({"shots": 1}, "expected at least 1 examples of the subject 'small_sums', got 0; give MMLU's dev questions"),
        ({"shots": 2, "examples": EXAMPLES[:1]}, "expected at least 2 examples of the subject 'small_sums', got 1"),
    ],
)
def test_values_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        KnowledgeTask([question(1, 0)], **options)


def test_the_plan_and_the_system_prompt_reach_every_pass():
    engine = FakeEngine()
    measured(KnowledgeTask([question(1, 0)]), engine)
    assert [call[2:] for call in engine.log] == [((STEERED.plan.digest(),), ("Be kind.",))] * 2
    assert STEERED.plan.digest() != Plan().digest()
