"""Coherence: whether what a steered model writes still is a text, by four local measures.

How likely the *unsteered* model finds the completion, on the whole and at its least likely token; how often it repeats
itself; how varied its words are. None needs a judge. Each has its blind spot: a loop is likely, a list of rare words
never repeats; read them together. Minimum token log-probability and repetition follow a judge's coherence best
(rank correlations 0.77 and -0.71 on judged sweeps), mean log-probability less (0.61).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from steersman.engines import Engine
from steersman.judges.coherence import distinct_ngrams, repeated_ngrams
from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.prompts import PromptItem
from steersman.tasks.rows import Rows
from steersman.tasks.task import Metric, Outcome, Setting, key_of

COHERENCE_METRICS: tuple[Metric, ...] = (
    Metric("completion_logprob", "mean", "nats per token under the unsteered model"),
    Metric("completion_min_logprob", "mean", "nats of the least likely token under the unsteered model"),
    Metric("repetition", "mean", "share of token pairs that stood in the completion before"),
    Metric("distinct_1", "mean", "share of words that are distinct"),
    Metric("distinct_2", "mean", "share of word pairs that are distinct"),
    Metric("distinct_3", "mean", "share of word triples that are distinct"),
)
"""What `coherence_of` gives. An empty completion has none of them: it is neither likely nor varied."""


def coherence_of(made: Generation, score: Score | None) -> dict[str, float]:
    """Return the coherence metrics of one completion; none of an empty one, or one of white space alone.

    Args:
        made: the completion.
        score: what the unsteered model makes of it; `None` where nothing was written.
    """
    if score is None:
        return {}
    return {
        "completion_logprob": score.mean,
        "completion_min_logprob": score.minimum,
        "repetition": repeated_ngrams(made.tokens),
        **{f"distinct_{n}": distinct_ngrams(made.text, n) for n in (1, 2, 3)},
    }


def unsteered_scores(engine: Engine, prompts: Sequence[str], texts: Sequence[str]) -> list[Score | None]:
    """Return what the unsteered model makes of each text behind its prompt; `None` for an empty text, which has none.

    The system prompt of a setting is left out as well: all arms are judged by one and the same reader.
    """
    written = [i for i, text in enumerate(texts) if text.strip()]
    values: list[Score | None] = [None] * len(texts)
    if written:
        scores = engine.score([prompts[i] for i in written], [texts[i] for i in written], Plan())
        for i, score in zip(written, scores, strict=True):
            values[i] = score
    return values


def empty_remark(outcomes: Sequence[Outcome]) -> list[str]:
    """Return how many completions are empty and thus have no coherence, where any is."""
    empty = sum(not str(outcome.details["completion"]).strip() for outcome in outcomes)
    if not empty:
        return []
    return [f"{empty} of {len(outcomes)} completions are empty, and no measure of coherence counts them"]


@final
@dataclass(frozen=True)
class CoherenceTask:
    """Completes prompts and reports how coherent the completions are, and how many are empty.

    An empty completion counts in `empty_rate` and in no other metric, so that silence does not pass for coherence; a
    remark says how many there were.

    Args:
        items: the prompts, best ordinary ones.
        name: as in tables.
        sampling: how completions are made; greedy by default.
    """

    items: Sequence[PromptItem]
    name: str = "coherence"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=40))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The four measures (distinct n-grams for n of 1 to 3) and the share of empty completions."""
        return (*COHERENCE_METRICS, Metric("empty_rate", "rate", "share of prompts answered by nothing"))

    def settings_key(self) -> str:
        """Return what an outcome depends on besides item and setting."""
        return key_of(task="coherence", version=2, sampling=asdict(self.sampling))

    def measure(self, engine: Engine, start: int, stop: int, settings: Sequence[Setting]) -> list[list[Outcome]]:
        """Return one outcome per prompt of `items[start:stop]` by setting."""
        items = list(self.items[start:stop])
        rows = Rows(settings, len(items))
        prompts = rows.flat([item.prompt for item in items])
        made = engine.complete(prompts, rows.plans, self.sampling, rows.systems)
        scores = unsteered_scores(engine, prompts, [generation.text for generation in made])
        return rows.cut([_outcome(*row) for row in zip(rows.flat(items), made, scores, strict=True)])

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return how many completions are empty, where any is."""
        return empty_remark(outcomes)


def _outcome(item: PromptItem, made: Generation, score: Score | None) -> Outcome:
    details = {
        "prompt": item.prompt,
        "category": item.category,
        "completion": made.text,
        "finish": made.finish,
    }
    return Outcome(item.id, coherence_of(made, score) | {"empty_rate": float(score is None)}, details)
