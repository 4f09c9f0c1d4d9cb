"""Knowledge: questions in MMLU's form, scored by the letter and by the answer's text.

Two independent choices. How a question is asked: as a chat turn, or as the plain text of the original paper, which is
what published figures and lm-evaluation-harness use. What is scored: the letter, or the answer's words.

One-letter answers are beyond very small models, which choose a letter whatever the question; the text of the choices,
scored by its log-probability per token without the choices in sight, still tells what they know.

References: Hendrycks et al. (2021), "Measuring massive multitask language understanding"; Brown et al. (2020), section
2.4, for scoring by length-normalised likelihood.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.prompts import Question, content_hash
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of

Form = Literal["chat", "plain"]
Scoring = Literal["letter", "text"]

LETTERS = "ABCDEFGHIJ"
MOST_SHOTS = 5
COLLAPSE = 0.95
"""Share of one letter among all choices above which a model is said to choose a letter and not an answer."""
FEWEST = 20
"""Questions below which that is not said."""


@final
@dataclass(frozen=True)
class KnowledgeTask:
    """Asks questions with lettered choices and reports accuracy by letter, by answer text, or both.

    Args:
        items: the questions, each with 2 to 10 choices.
        name: as in `results.json`.
        form: `chat` asks in the model's chat template, where it has one; `plain` is MMLU's original text, which no
            template wraps, equal to that of lm-evaluation-harness (`mmlu` for letters, `mmlu_continuation` for texts).
        scoring: `letter`, `text` or both; each costs a pass. A letter is chosen by its log-probability, a text by its
            log-probability per token.
        shots: answered examples of the question's subject before it, 0 to 5.
        examples: where they come from, MMLU's `dev` questions: the first of each subject, in their order.

    Raises:
        InputError: for a value out of range, or a subject with fewer examples than shots.
    """

    items: Sequence[Question]
    name: str = "knowledge"
    form: Form = "chat"
    scoring: Sequence[Scoring] = ("letter", "text")
    shots: int = 0
    examples: Sequence[Question] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if self.form not in get_args(Form):
            raise InputError(f"expected a form among {', '.join(get_args(Form))}, got {self.form!r}")
        known = get_args(Scoring)
        if isinstance(self.scoring, str) or not self.scoring or set(self.scoring) - set(known):
            raise InputError(f"expected a scoring of one or more of {', '.join(known)}, got {self.scoring!r}")
        if not 0 <= self.shots <= MOST_SHOTS:
            raise InputError(f"expected 0 to {MOST_SHOTS} shots, got {self.shots}")
        for subject, found in self._shots().items():
            if len(found) < self.shots:
                raise InputError(
                    f"expected at least {self.shots} examples of the subject {subject!r}, got {len(found)}; give "
                    "MMLU's dev questions as examples, or fewer shots"
                )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The accuracies that are scored."""
        words = {"letter": "share of questions right by letter", "text": "share of questions right by answer text"}
        return tuple(Metric(f"accuracy_{way}", "rate", words[way]) for way in words if way in self.scoring)

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        used = [example for found in self._shots().values() for example in found]
        return key_of(
            task="knowledge",
            version=4,
            form=self.form,
            scoring=sorted(set(self.scoring)),
            shots=self.shots,
            examples=content_hash(used) if used else "",
        )

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return a sentence where one letter was chosen nearly always, whatever was asked."""
        chosen = Counter(outcome.details["letter"] for outcome in outcomes if "letter" in outcome.details)
        count = chosen.total()
        if count < FEWEST:
            return []
        letter, times = chosen.most_common(1)[0]
        if times <= COLLAPSE * count:
            return []
        right = sum(outcome.details["answer"] == letter for outcome in outcomes if "letter" in outcome.details)
        sentence = (
            f"the letter {LETTERS[letter]} was chosen for {times} of {count} questions ({times / count:.0%}) and is "
            f"right for {right} ({right / count:.0%}): accuracy by letter tells which letter the model likes, not "
            "what it knows"
        )
        return [sentence]

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per question of `items[start:stop]` by setting."""
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        values = {way: self._values(engine, items, rows, way) for way in get_args(Scoring) if way in self.scoring}
        found = [
            _outcome(item, {way: values[way][index] for way in values}) for index, item in enumerate(rows.flat(items))
        ]
        return rows.cut(found)

    def _values(self, engine: Engine, items: Sequence[Question], rows: Rows, way: Scoring) -> list[list[float]]:
        """Return for each row its options' log-probabilities: whole for letters, per token for texts; nats."""
        ask, say = (letter_prompt, letter_options) if way == "letter" else (text_prompt, text_options)
        shots = self._shots()
        scores = engine.score_options(
            rows.flat([ask(item, shots[item.subject], self.form) for item in items]),
            rows.flat([say(item, self.form) for item in items]),
            rows.plans,
            system=rows.systems,
            chat=self.form == "chat",
        )
        return [[score.total if way == "letter" else score.mean for score in row] for row in scores]

    def _shots(self) -> dict[str, list[Question]]:
        """Return the examples that stand before the questions of each subject, in the subjects' first order."""
        found: dict[str, list[Question]] = {item.subject: [] for item in self.items}
        for example in self.examples if self.shots else ():
            if len(found.get(example.subject, ())) < self.shots:
                found.setdefault(example.subject, []).append(example)
        wanted = {item.subject for item in self.items}
        return {subject: rows for subject, rows in found.items() if subject in wanted}


def letter_prompt(item: Question, shots: Sequence[Question] = (), form: Form = "chat") -> str:
    """Return the question with its lettered choices, behind its answered examples.

    Args:
        item: the question.
        shots: examples of the same subject.
        form: `plain`, MMLU's original text to the character; `chat`, the same in a user's turn.
    """
    before = "".join(f"{_lettered(shot)}\nAnswer: {LETTERS[shot.answer]}\n\n" for shot in shots)
    if form == "chat":
        return f"{before}{_lettered(item)}\nAnswer with the letter alone."
    return f"{_heading('multiple choice questions', item)}{before}{_lettered(item)}\nAnswer:"


def text_prompt(item: Question, shots: Sequence[Question] = (), form: Form = "chat") -> str:
    """Return the question alone, behind its answered examples, to be answered in words.

    Args:
        item: the question.
        shots: examples of the same subject.
        form: `plain`, the harness's `mmlu_continuation` to the character; `chat`, the same in a user's turn.
    """
    if form == "chat":
        before = "".join(f"{shot.question.strip()}\nAnswer: {shot.choices[shot.answer]}\n\n" for shot in shots)
        return f"{before}{item.question.strip()}\nAnswer in a few words."
    before = "".join(f"Question: {shot.question.strip()}\nAnswer: {shot.choices[shot.answer]}\n\n" for shot in shots)
    return f"{_heading('questions', item)}{before}Question: {item.question.strip()}\nAnswer:"


def letter_options(item: Question, form: Form = "chat") -> list[str]:
    """Return the letters as they would be written; behind plain text with the space that parts words."""
    return [f"{'' if form == 'chat' else ' '}{letter}" for letter in LETTERS[: len(item.choices)]]


def text_options(item: Question, form: Form = "chat") -> list[str]:
    """Return the choices as they would be written; behind plain text with the space that parts words."""
    return [f"{'' if form == 'chat' else ' '}{choice}" for choice in item.choices]


def _lettered(item: Question) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)]
    return "\n".join([item.question.strip(), *lines])


def _heading(what: str, item: Question) -> str:
    about = f" about {item.subject.replace('_', ' ')}" if item.subject else ""
    return f"The following are {what} (with answers){about}.\n\n"


def _outcome(item: Question, values: Mapping[Scoring, list[float]]) -> Outcome:
    """Return a question's outcome from its options' log-probabilities, read one way or both."""
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {"subject": item.subject, "answer": item.answer}
    for way, own in values.items():
        chosen = _best(own)
        metrics[f"accuracy_{way}"] = float(chosen == item.answer)
        details |= {way: chosen, f"{way}_logprobs": own}
        if own.count(own[chosen]) > 1:
            details[f"{way}_tie"] = [i for i, value in enumerate(own) if value == own[chosen]]
    return Outcome(item.id, metrics, details, group=item.subject)


def _best(values: Sequence[float]) -> int:
    """Return the place of the largest value, the first of equal ones."""
    return max(range(len(values)), key=lambda i: values[i])
