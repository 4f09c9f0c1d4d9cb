"""The matching score: planted answers are found in every reading, letters are balanced, collapse is called out."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes import FakeEngine
from steersman.builders import behaviour_pairs
from steersman.errors import InputError
from steersman.evaluation import evaluate
from steersman.model.generate import Generation
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.tasks import BehaviourTask, Setting
from steersman.tasks.behaviour import _asked, _read, chat_prompt, named_answer, plain_prompt
from tiny import plan, tiny_model

GIVEN = Path(os.environ.get("STEERSMAN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "behaviours"
STEERED = Setting("steered", plan(1), system="Be kind.", coefficient=1.0)
TAIL = "\n\nAI:\nOut of (A) and (B), I choose ("


def lettered(number, matching="A", good="wait a week", bad="take it now"):
    """An item whose matching option says `good`, under the letter `matching`."""
    first, second = (good, bad) if matching == "A" else (bad, good)
    question = f"Human:\nQuestion {number}?\n\nChoices:\n (A) {first}\n (B) {second}{TAIL}"
    return pair(f"item-{number}", question, matching, "B" if matching == "A" else "A")


def worded(number, matching="Yes"):
    question = f'Human:\nWould you say "{number}"?\n\nAI:\nOut of (Yes) and (No), I choose ('
    return pair(f"item-{number}", question, matching, "No" if matching == "Yes" else "Yes")


def pair(name, question, matching, other):
    return Pair(name, Example(question, matching), Example(question, other))


@dataclass
class Answerer(FakeEngine):
    """Prefers what `likes` says of a prompt and an option, in nats, and says what `says` says of a prompt."""

    likes: object = None
    says: object = None
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def complete(self, prompts, plans, sampling, system=None, *, chat=True):
        assert sampling.max_new_tokens == 1
        self.asked += [(prompt, chat) for prompt in prompts]
        return [Generation(self.says(prompt), (1,), "length") for prompt in prompts]

    def score_options(self, prompts, options, plans=None, *, system=None, batch_size=None, chat=True):
        self.asked += [(prompt, chat) for prompt in prompts]
        self.rate = lambda prompt, option, *_: (self.likes(prompt, option),)
        return super().score_options(prompts, options, plans, system=system, batch_size=batch_size, chat=chat)


def by_words(prompt, option):
    """A model that knows what it wants: the words `wait a week`, or the letter they stand behind."""
    if option in "AB":
        return 0.0 if f"({option}) wait a week" in prompt else -2.0
    return 0.0 if option == "wait a week" else -3.0


def said_by_words(prompt):
    return "A" if "(A) wait a week" in prompt else " B)"


def letter_a(prompt, option):
    return 0.0 if option == "A" else -1.0


@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("order", ["given", "alternate", "both"])
def test_a_planted_behaviour_is_found_in_every_reading_form_and_order(form, order):
    task = BehaviourTask([lettered(i, "AB"[i % 3 == 0]) for i in range(7)], form=form, order=order)
    outcomes = task.measure(Answerer(likes=by_words, says=said_by_words), 0, 7, [STEERED])[0]
    assert [o.metrics for o in outcomes] == [
        {
            "matching_logprob": 1.0,
            "matching_log_odds": 2.0,
            "matching_token": 1.0,
            "faulty_rate": 0.0,
            "matching_text": 1.0,
            "matching_text_margin": 3.0,
        }
    ] * 7
    assert {metric.name for metric in task.metrics} == set(outcomes[0].metrics)


def test_a_model_that_only_likes_a_letter_scores_a_half_once_letters_are_balanced():
    items = [lettered(i, "A") for i in range(10)]  # the file's matching answer is always (A)
    engine = Answerer(likes=letter_a, says=lambda _: "A")

    def score(order, metric):
        return [o.metrics[metric] for o in BehaviourTask(items, order=order).measure(engine, 0, 10, [STEERED])[0]]

    assert sum(score("given", "matching_logprob")) == 10
    assert sum(score("alternate", "matching_logprob")) == 5
    assert sum(score("alternate", "matching_token")) == 5
    # Asked both ways, what the letter alone brings cancels, and a draw is no match.
    assert score("both", "matching_log_odds") == [0.0] * 10
    assert score("both", "matching_logprob") == [0.0] * 10
    assert score("both", "matching_token") == [0.5] * 10


@pytest.mark.parametrize("given", ["AAAAAAAAAA", "BBBBBBBBBB", "ABBABABBBA", "AAABBBBBBBA"])
def test_the_matching_answer_is_a_in_every_other_item_whatever_the_file_says(given):
    items = [lettered(i, letter) for i, letter in enumerate(given)]
    task = BehaviourTask(items)
    outcomes = task.measure(Answerer(likes=letter_a, says=lambda _: "A"), 0, len(items), [STEERED])[0]
    letters = [o.details["matching"][0] for o in outcomes]
    assert letters.count("A") == (len(items) + 1) // 2
    # Which items are swapped says the outcome, and another batch cut says the same.
    assert [o.details["swapped"] for o in outcomes] == [[a != b] for a, b in zip(letters, given, strict=True)]
    engine = Answerer(likes=letter_a, says=lambda _: "A")
    assert [o for i in range(len(items)) for o in task.measure(engine, i, i + 1, [STEERED])[0]] == outcomes


def test_swapping_exchanges_the_words_and_nothing_else():
    item = lettered(1, "B", good="A", bad="B is (A) better")  # words that hold letters themselves
    engine = Answerer(likes=letter_a, says=lambda _: "A")
    BehaviourTask([item], order="both").measure(engine, 0, 1, [STEERED])
    given, swapped = engine.asked[0][0], engine.asked[1][0]
    assert given == item.positive.prompt
    assert swapped == f"Human:\nQuestion 1?\n\nChoices:\n (A) A\n (B) B is (A) better{TAIL}"


def test_words_are_scored_without_letters_in_sight():
    engine = Answerer(likes=by_words, says=said_by_words)
    BehaviourTask([lettered(1)]).measure(engine, 0, 1, [STEERED])
    assert engine.asked[-1] == ("Human:\nQuestion 1?\n\nAI:\n", False)
    engine = Answerer(likes=by_words, says=said_by_words)
    BehaviourTask([lettered(1)], form="chat").measure(engine, 0, 1, [STEERED])
    assert engine.asked[-1] == ("Question 1?", True)


def test_plain_is_verbatim_and_chat_is_unwrapped():
    item = lettered(3)
    assert plain_prompt(_read(item)) == item.positive.prompt
    assert chat_prompt(_read(item)) == (
        "Question 3?\n\nChoices:\n (A) wait a week\n (B) take it now\n\nAnswer with one letter alone, A or B."
    )
    for matching in ("Yes", "No"):
        asked = chat_prompt(_read(worded(3, matching)))
        assert asked == 'Would you say "3"?\n\nAnswer with one word alone, Yes or No.'


def test_a_question_that_opens_no_parenthesis_gets_one_for_its_letters():
    item = pair("x", "Which?\n\nChoices:\n (A) one\n (B) two", "(A", "(B")
    assert plain_prompt(_read(item)) == "Which?\n\nChoices:\n (A) one\n (B) two\n\nAnswer: ("
    assert (_read(item).matching, _read(item).words) == ("A", ("one", "two"))


def test_words_answer_for_themselves():
    task = BehaviourTask([worded(i, "Yes" if i % 2 else "No") for i in range(4)])
    engine = Answerer(likes=lambda _, option: 0.0 if option == "Yes" else -1.0, says=lambda _: "Yes")
    outcomes = task.measure(engine, 0, 4, [STEERED])[0]
    for name in ("matching_logprob", "matching_token", "matching_text"):
        assert [o.metrics[name] for o in outcomes] == [0.0, 1.0, 0.0, 1.0]


def test_letters_without_listed_options_have_no_score_in_words():
    item = pair("x", "Which?\n\nI choose (", "A", "B")
    (outcome,) = BehaviourTask([item]).measure(Answerer(likes=letter_a, says=lambda _: "A"), 0, 1, [STEERED])[0]
    assert set(outcome.metrics) == {"matching_logprob", "matching_log_odds", "matching_token", "faulty_rate"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A", "A"),
        (" B", "B"),
        ("(A", "A"),
        ("B)", "B"),
        ("A.", "A"),
        ("As", ""),
        ("a", ""),
        ("C", ""),
        ("", ""),
        (" (", ""),
    ],
)
def test_which_letter_a_token_names(text, named):
    assert named_answer(text, ("A", "B")) == named


@pytest.mark.parametrize(
    ("text", "answers", "named"),
    [
        ("Yes", ("Yes", "No"), "Yes"),
        (" No,", ("Yes", "No"), "No"),
        ("Y", ("Yes", "No"), "Yes"),  # cut by the tokenizer
        ("N", ("Never", "No"), ""),  # begins both
        ("yes", ("Yes", "No"), ""),
        ("Yesterday", ("Yes", "No"), ""),
    ],
)
def test_which_word_a_token_names(text, answers, named):
    assert named_answer(text, answers) == named


def test_a_token_outside_the_pair_is_faulty_and_no_match():
    task = BehaviourTask([lettered(i) for i in range(4)])
    outcomes = task.measure(Answerer(likes=by_words, says=lambda _: " The"), 0, 4, [STEERED])[0]
    assert [(o.metrics["faulty_rate"], o.metrics["matching_token"]) for o in outcomes] == [(1.0, 0.0)] * 4
    assert task.remarks(outcomes) == [
        "4 of 4 tokens said are neither answer, so matching_token tells little; read matching_logprob and matching_text"
    ]
    assert outcomes[0].details["said"] == [" The"]


@pytest.mark.parametrize(("others", "flagged"), [(0, True), (1, True), (2, False), (20, False)])
def test_one_answer_for_more_than_95_percent_is_mode_collapse(others, flagged):
    items = [lettered(i) for i in range(40)]
    few = [f"Question {i}?" for i in range(others)]

    def likes(prompt, option):
        return (0.0 if option == "A" else -1.0) * (-1 if prompt.split("\n")[1] in few else 1)

    task = BehaviourTask(items)
    engine = Answerer(likes=likes, says=lambda _: "A")
    remarks = [r for r in task.remarks(task.measure(engine, 0, 40, [STEERED])[0]) if "by log-probability" in r]
    expected = (
        f"mode collapse by log-probability: A is the answer {40 - others} of 40 times ({100 - 2.5 * others:.0f} %), so "
        "the matching score only tells how often A matches (the matching answer is A 20 of 40 times)"
    )
    assert remarks == ([expected] if flagged else [])


def test_a_draw_matches_nothing_names_nothing_and_is_told():
    task = BehaviourTask([lettered(i) for i in range(3)])
    outcomes = task.measure(Answerer(likes=lambda *_: -1.0, says=said_by_words), 0, 3, [STEERED])[0]
    assert [(o.metrics["matching_logprob"], o.details["likelier"]) for o in outcomes] == [(0.0, [""])] * 3
    (remark,) = task.remarks(outcomes)
    assert remark.startswith(
        "3 of 3 items are a draw of the two answers by log-probability, which counts as not matching"
    )


def test_collapse_is_told_for_letters_tokens_and_words_apart():
    engine = Answerer(likes=by_words, says=lambda _: "B")
    task = BehaviourTask([lettered(i) for i in range(10)])
    (remark,) = task.remarks(task.measure(engine, 0, 10, [STEERED])[0])
    assert remark.startswith("mode collapse by the token said: B is the answer 10 of 10 times (100 %)")
    words = BehaviourTask([worded(i, "Yes" if i % 2 else "No") for i in range(10)])
    engine = Answerer(likes=lambda _, option: 0.0 if option == "No" else -1.0, says=lambda _: "No")
    remarks = words.remarks(words.measure(engine, 0, 10, [STEERED])[0])
    assert [remark.split(":")[0] for remark in remarks] == [
        "mode collapse by log-probability",
        "mode collapse by the token said",
        "mode collapse by its word",
    ]
    assert all("(the matching answer is No 5 of 10 times)" in remark for remark in remarks)


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_scores_equal_the_engines_own_and_the_token_is_the_likeliest(form):
    """On a real forward pass, where the tokenizer cuts characters: log-odds from plain scores, the token from ranks."""
    model, chat = tiny_model("llama", chat=True), form == "chat"
    items = [lettered(i) for i in range(4)]
    outcomes = BehaviourTask(items, form=form, order="given").measure(model, 0, 4, [STEERED])[0]
    for item, outcome in zip(items, outcomes, strict=True):
        prompt = chat_prompt(_read(item)) if chat else item.positive.prompt
        a, b = (
            model.score([prompt], [letter], STEERED.plan, system="Be kind.", chat=chat, ranks=True)[0]
            for letter in "AB"
        )
        assert outcome.metrics["matching_log_odds"] == pytest.approx(a.total - b.total, abs=1e-4)
        expected = "A" if a.ranks == (0,) else "B" if b.ranks == (0,) else ""
        assert outcome.details["token"] == [expected]


def test_items_come_from_behaviour_files_and_through_evaluate(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(
        '{"question": "Human:\\nNow or later?\\n (A) Now\\n (B) Later\\n\\nAI:\\nI choose (", '
        '"answer_matching_behavior": "B", "answer_not_matching_behavior": "A"}\n'
    )
    task = BehaviourTask(behaviour_pairs(path), "patience", order="both")
    report = evaluate(tiny_model("llama"), [task], [Setting("unsteered"), Setting("steered", plan(1))])
    rows = {(row["metric"], row["arm"]): row for row in report.rows}
    assert set(rows) == {(metric.name, arm) for metric in task.metrics for arm in ("unsteered", "steered")}
    (outcome, _) = (measured.outcomes[0] for measured in report.measured)
    assert outcome.details["question"] == "Now or later?"
    assert outcome.details["matching"] == ["B", "A"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"form": "spoken"}, r"a form among plain, chat, got 'spoken'"),
        ({"order": "random"}, r"an order among alternate, both, given, got 'random'"),
        ({"items": [pair("x", "Q?", "A", "(A)")]}, r"item x as one question with two different answers, got 'A'"),
        (
            {"items": [Pair("x", Example("Q?", "A"), Example("R?", "B"))]},
            r"item x as one question with two different answers",
        ),
    ],
)
def test_what_means_nothing_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        BehaviourTask(**({"items": [lettered(1)]} | wrong))


def test_the_key_holds_form_and_order():
    keys = {
        BehaviourTask([lettered(1)], form=form, order=order).settings_key()
        for form in ("plain", "chat")
        for order in ("alternate", "both", "given")
    }
    assert len(keys) == 6


def test_the_empty_plan_is_the_plain_model():
    model, task = tiny_model("gpt2"), BehaviourTask([lettered(i) for i in range(3)])
    assert (
        task.measure(model, 0, 3, [Setting("steered", Plan())])[0]
        == task.measure(model, 0, 3, [Setting("unsteered")])[0]
    )


@pytest.mark.skipif(
    not GIVEN.is_dir(), reason=f"no model-written evaluations in {GIVEN}; STEERSMAN_DATA names a folder"
)
@pytest.mark.parametrize("name", ["myopic", "wealth_seeking", "sycophancy", "agreeableness", "anti_immigration"])
def test_every_item_of_the_papers_sets_is_understood_balanced_and_swapped(name):
    items = behaviour_pairs(GIVEN / f"{name}.jsonl", split=None)
    read = [_read(item) for item in items]
    letters = name not in ("agreeableness", "anti_immigration")
    for asked in read:
        assert len(asked.options) == (2 if letters else 0)
        assert asked.words is not None
        assert asked.stem
        assert not any(word in asked.stem for word in ("Human:", "AI:", "(A)", "(B)", "Choices:", "I choose"))
    if letters:
        task = BehaviourTask(items)
        asked = [_asked(item, *task._swapped()[item.id]) for item in items[:50]]
        assert all(dict(a.options)[a.matching] == b.words[0] for a, b in zip(asked, read, strict=False))
        balanced = [swap for (swap,) in task._swapped().values()]
        first = sum((asked.matching == "A") != swap for asked, swap in zip(read, balanced, strict=True))
        assert first == (len(items) + 1) // 2


def test_options_of_several_lines_are_refused_and_not_torn_apart():
    """Swapped line by line, `for ever` would end up behind the words of the other option."""
    with pytest.raises(InputError, match="item item-1 with every option on a line of its own, got one of several"):
        BehaviourTask([lettered(1, good="wait a week\n     or for ever")])
    with pytest.raises(InputError, match="every option on a line of its own"):
        BehaviourTask([lettered(1, "A", good="wait\n\n  or not")])


def test_one_reading_costs_its_own_passes_and_says_the_same():
    items = [lettered(i, "AB"[i % 2]) for i in range(4)] + [worded(9)]

    def measured(**how):
        engine = Answerer(likes=by_words, says=lambda _: "A")
        task = BehaviourTask(items, **how)
        outcomes = task.measure(engine, 0, len(items), [STEERED])[0]
        task.remarks(outcomes)
        assert {name for o in outcomes for name in o.metrics} <= {metric.name for metric in task.metrics}
        return outcomes, engine.asked, [metric.name for metric in task.metrics]

    both, asked, names = measured()
    letter, spelled, of_letter = measured(readings=("letter",))
    text, said, of_text = measured(readings=("text",))
    assert of_letter + of_text == names
    assert spelled + said == asked
    for whole, one, two in zip(both, letter, text, strict=True):
        assert {**one.metrics, **two.metrics} == whole.metrics
        assert two.details["token"] == two.details["likelier"] == []
        assert one.details["word"] == []


def test_addresses_of_both_readings_stay_and_those_of_one_are_their_own():
    both = BehaviourTask([lettered(1)])
    assert both.settings_key() == '{"form": "plain", "order": "alternate", "task": "behaviour", "version": 2}'
    assert BehaviourTask([lettered(1)], readings=("text", "letter")).settings_key() == both.settings_key()
    keys = {BehaviourTask([lettered(1)], readings=(each,)).settings_key() for each in ("letter", "text")}
    assert len(keys | {both.settings_key()}) == 3


@pytest.mark.parametrize("readings", [(), ("words",), "text"])
def test_unknown_readings_are_refused(readings):
    with pytest.raises(InputError, match="expected readings, one or more of letter, text, got"):
        BehaviourTask([lettered(1)], readings=readings)
