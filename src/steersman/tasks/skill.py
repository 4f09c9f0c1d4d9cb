"""Skill: how well the model predicts the next token of a corpus, for what a direction costs one skill and another.

Teacher-forced: each token is predicted from the true text before it. Measured on two corpora, such as prose and code,
under one setting, it tells a skill that was removed from damage to all.

Reference: van der Weij, Poesio and Schoots (2024), arXiv 2403.05767, section 3.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.model.encode import completion_tokens
from steersman.model.handle import Handle
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.prompts import Passage
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of

CHARACTERS = 8
"""Characters read for each token wanted, about twice as many as a token of prose holds."""

TOP = 10


@final
@dataclass(frozen=True)
class SkillTask:
    """Reports top-1 and top-10 accuracy and cross-entropy of the next token on the texts of one corpus.

    An item's numbers are means over its counted tokens, and a table's over items: every text weighs the same, however
    long. `token_weighted` gives the corpus as one text, every token weighing the same.

    Args:
        items: the texts.
        name: as in tables; tells corpora apart, as in `skill-code`.
        tokens: of each text, at most so many first tokens, and at most `CHARACTERS` times as many characters.
        leave_out: so many of the corpus's most frequent tokens are not counted where they are to be predicted, though
            they are read as context: white space and function words are predicted by anything. Counted over the very
            tokens of `items` that would be scored, as this model's tokenizer cuts them; of equally frequent ones the
            lower ids go first. 0 counts every token.

    Raises:
        InputError: for fewer than 2 tokens, or a negative number left out.
    """

    items: Sequence[Passage]
    name: str = "skill"
    tokens: int = 128
    leave_out: int = 0

    def __post_init__(self) -> None:
        """Refuse what would count nothing."""
        if self.tokens < 2:
            raise InputError(f"expected at least 2 tokens of each text, got {self.tokens}")
        if self.leave_out < 0:
            raise InputError(f"expected a number of frequent tokens to leave out of 0 or more, got {self.leave_out}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Two accuracies, higher is better, and the cross-entropy, lower is better."""
        return (
            Metric("top1_accuracy", "mean", "share of tokens that are the likeliest"),
            Metric("top10_accuracy", "mean", "share of tokens among the 10 likeliest"),
            Metric("cross_entropy", "mean", "nats per counted token of plain text"),
        )

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="skill", version=2, tokens=self.tokens, leave_out=self.leave_out, top=TOP)

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per text of `items[start:stop]` by setting.

        A system prompt stands before the text as plain text.
        """
        items = list(self.items[start:stop])
        frequent = frequent_tokens(engine, self.items, self.tokens, self.leave_out)
        rows = Rows(settings, len(items))
        texts = rows.flat([excerpt(item.text, self.tokens) for item in items])
        scores = engine.score("", texts, rows.plans, system=rows.systems, ranks=True)
        return [
            [self._outcome(item, score, frequent) for item, score in zip(items, part, strict=True)]
            for part in rows.cut(scores)
        ]

    def _outcome(self, item: Passage, score: Score, frequent: frozenset[int]) -> Outcome:
        ids = score.ids[: self.tokens]
        counted = [i for i, token in enumerate(ids) if token not in frequent]
        hits = [sum(score.ranks[i] < top for i in counted) for top in (1, TOP)]
        nats = -sum(score.tokens[i] for i in counted)
        n = len(counted)
        metrics = {"top1_accuracy": hits[0] / n, "top10_accuracy": hits[1] / n, "cross_entropy": nats / n} if n else {}
        return Outcome(item.id, metrics, {"tokens": n, "left_out": len(ids) - n})

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return how many texts the filter of frequent tokens left nothing of."""
        bare = sum(not outcome.details["tokens"] for outcome in outcomes)
        if not bare:
            return []
        return [
            f"{bare} of {len(outcomes)} texts consist of the {self.leave_out} most frequent tokens and are not counted"
        ]


def token_weighted(outcomes: Sequence[Outcome], metric: str) -> float:
    """Return a metric over all counted tokens of a corpus, each token weighing the same.

    Args:
        outcomes: of a `SkillTask` or a `DriftTask`, with at least one counted token.
        metric: a metric that is a mean over an item's tokens.

    Raises:
        InputError: when nothing was counted.
    """
    counted = [(o.metrics[metric], int(o.details["tokens"])) for o in outcomes if metric in o.metrics]
    total = sum(n for _, n in counted)
    if not total:
        raise InputError(f"expected outcomes with at least one counted token of {metric}, got none")
    return sum(value * n for value, n in counted) / total


def excerpt(text: str, tokens: int) -> str:
    """Return the beginning of a text that is read for its first `tokens` tokens, so that a long text costs no more."""
    return text[: tokens * CHARACTERS]


def frequent_tokens(engine: Engine, items: Sequence[Passage], tokens: int, count: int) -> frozenset[int]:
    """Return the ids of the most frequent tokens among the scored ones of some texts.

    Args:
        engine: whose tokenizer counts; one that is no loaded model is asked to score the texts, which tells the ids.
        items: the texts.
        tokens: of each, so many first tokens.
        count: how many ids; 0 gives none, without reading anything.

    Raises:
        InputError: when the engine does not tell ids.
    """
    if not count:
        return frozenset()
    frequency = Counter(
        token for ids in _ids(engine, [excerpt(i.text, tokens) for i in items]) for token in ids[:tokens]
    )
    if not frequency:
        raise InputError("expected an engine that tells the ids of scored tokens to leave out frequent ones, got none")
    ranked = sorted(frequency, key=lambda token: (-frequency[token], token))
    return frozenset(ranked[:count])


def _ids(engine: Engine, texts: Sequence[str]) -> Iterator[Sequence[int]]:
    if isinstance(engine, Handle):
        # Without a token that begins every text, the first one is only context, as in scoring.
        first = 0 if engine.tokenizer.bos_token_id is not None else 1
        for text in texts:
            yield completion_tokens(engine, text)[first:]
    else:
        for score in engine.score("", texts, Plan()):
            yield score.ids
