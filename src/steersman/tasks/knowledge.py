"""Knowledge: four-choice questions in MMLU's form, scored by the letter and by the answer's text.

One-letter answers are beyond very small models, which choose a letter whatever the question; the text of the choices,
scored by its log-probability per token without the choices in sight, still tells what they know.

References: Hendrycks et al. (2021), "Measuring massive multitask language understanding"; Brown et al. (2020), section
2.4, for scoring by length-normalised likelihood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from steersman.engines import Engine
from steersman.prompts import Question
from steersman.tasks.task import Metric, Outcome, Setting, key_of

LETTERS = "ABCDEFGHIJ"


@final
@dataclass(frozen=True)
class KnowledgeTask:
    """Asks four-choice questions and reports accuracy by letter and by answer text.

    Args:
        items: the questions.
        name: as in `results.json`.
    """

    items: Sequence[Question]
    name: str = "knowledge"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Both accuracies."""
        return (
            Metric("accuracy_letter", "rate", "share of questions right by letter"),
            Metric("accuracy_text", "rate", "share of questions right by answer text"),
        )

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="knowledge", form=2)

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:  # noqa: ARG002 (one signature for all tasks)
        """Return no remark."""
        return []

    def measure(self, engine: Engine, start: int, stop: int, setting: Setting) -> list[Outcome]:
        """Return one outcome per question of `items[start:stop]`."""
        items = list(self.items[start:stop])
        size = len(items)
        if len({len(item.choices) for item in items}) > 1:
            # Questions with different numbers of choices cannot share a batch.
            return [outcome for i in range(start, stop) for outcome in self.measure(engine, i, i + 1, setting)]
        letters = [[LETTERS[i] for i in range(len(item.choices))] for item in items]
        lettered = engine.score_options(
            [letter_prompt(item) for item in items], letters, setting.plan, system=setting.system, batch_size=size
        )
        texts = engine.score_options(
            [text_prompt(item) for item in items],
            [list(item.choices) for item in items],
            setting.plan,
            system=setting.system,
            batch_size=size,
        )
        outcomes: list[Outcome] = []
        for item, by_letter, by_text in zip(items, lettered, texts, strict=True):
            letter = _best([score.total for score in by_letter])
            text = _best([score.mean for score in by_text])
            outcomes.append(
                Outcome(
                    item.id,
                    {"accuracy_letter": float(letter == item.answer), "accuracy_text": float(text == item.answer)},
                    {"subject": item.subject, "letter": letter, "text": text, "answer": item.answer},
                )
            )
        return outcomes


def letter_prompt(item: Question) -> str:
    """Return the question with its lettered choices, as MMLU asks it."""
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False))
    return f"{item.question}\n{choices}\nAnswer with the letter alone."


def text_prompt(item: Question) -> str:
    """Return the question alone, to be answered in a few words."""
    return f"{item.question}\nAnswer in a few words."


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: values[i])
