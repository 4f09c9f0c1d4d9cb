"""The model as users hold it: a handle that generates and scores, batch by batch."""

from collections.abc import Callable, Sequence

from steersman.errors import InputError
from steersman.model.arranging import IN_ORDER
from steersman.model.encode import Systems
from steersman.model.generate import Generation, Sampling, generate_texts
from steersman.model.handle import Handle
from steersman.model.hooks import around, refuse_plans_by_row
from steersman.model.options import score_options
from steersman.model.score import Reading, Score, score_texts
from steersman.plan import Plan

Plans = Plan | Sequence[Plan] | None


class Model(Handle):
    """A loaded model; see `Handle` for its parts. `hf` inside a `steer` context is steered as any other call."""

    def generate(
        self,
        prompts: str | Sequence[str],
        plans: Plans = None,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        system: Systems = None,
        batch_size: int | None = None,
        notify: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Return one completion per row, greedy unless a temperature is given.

        Args:
            prompts: one, or one per row.
            plans: none, one for all rows, or one per row; a single prompt with many plans makes as many rows.
            max_new_tokens: limit of every completion.
            temperature: 0 is greedy.
            top_p: share of probability that is drawn from.
            repetition_penalty: 1 is none.
            seed: of every row's own generator.
            system: system prompt of all rows, or one for each.
            batch_size: rows under way at most, at least 1; as many as fit where not given. It changes no result beyond
                rounding.
            notify: called with the number of rows that have come to their end.

        Raises:
            InputError: for counts that do not match or values out of range.
            InterventionError: when a plan was never applied.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, repetition_penalty, seed)
        rows, row_plans = _rows(prompts, plans)
        most = _most(self, "generate", len(rows), batch_size)
        made = generate_texts(self, rows, row_plans, sampling, system, most=most, notify=notify)
        return [each.text for each in made]

    def complete(
        self,
        prompts: Sequence[str],
        plans: Sequence[Plan],
        sampling: Sampling,
        system: Systems = None,
        *,
        chat: bool = True,
    ) -> list[Generation]:
        """Return one generation per prompt, with tokens and how it ended."""
        return generate_texts(self, prompts, plans, sampling, system, chat=chat)

    def score(
        self,
        prompts: str | Sequence[str],
        completions: Sequence[str],
        plans: Plans = None,
        *,
        system: Systems = None,
        batch_size: int | None = None,
        chat: bool = True,
        ranks: bool = False,
        divergence: bool = False,
        entropy: bool = False,
        echo: bool = False,
    ) -> list[Score]:
        """Return the log-probabilities of given completions.

        Args:
            prompts: one for all, or one per completion; `""` scores a plain text.
            completions: each of at least one token.
            plans: none, one for all, or one per completion.
            system: system prompt of all rows, or one for each.
            batch_size: rows at a time at most; as many as fit where not given. It changes no result beyond rounding.
            chat: `False` reads prompts as plain text also where the model has a chat template.
            ranks: also tell how many tokens of the vocabulary were likelier than each.
            divergence: also tell `KL(unsteered || steered)` of the next-token distributions, nats.
            entropy: also tell the entropy of the next-token distribution before each, nats.
            echo: also tell the log-probability of every token of prompt and completion right behind itself, nats.

        Raises:
            InputError: for counts that do not match.
        """
        rows, row_plans = _rows([prompts] * len(completions) if isinstance(prompts, str) else prompts, plans)
        if len(rows) != len(completions):
            raise InputError(f"expected one completion per prompt, got {len(completions)} for {len(rows)}")
        reading = Reading(system, chat, ranks, divergence, entropy, echo)
        most = _most(self, "score", len(rows), batch_size)
        return score_texts(self, rows, completions, row_plans, reading, most)

    def score_options(
        self,
        prompts: Sequence[str],
        options: Sequence[Sequence[str]],
        plans: Plans = None,
        *,
        system: Systems = None,
        batch_size: int | None = None,
        chat: bool = True,
    ) -> list[list[Score]]:
        """Return the scores of several completions per prompt; each prompt is read only once.

        Args:
            prompts: one per row.
            options: for each prompt its completions.
            plans: none, one for all, or one per prompt.
            system: system prompt of all rows, or one for each.
            batch_size: prompts at a time at most; as many as fit where not given. It changes no result beyond rounding.
            chat: `False` reads prompts as plain text also where the model has a chat template.
        """
        rows, row_plans = _rows(prompts, plans)
        if len(rows) != len(options):
            raise InputError(f"expected options for every prompt, got {len(options)} for {len(rows)}")
        most = _most(self, "score_options", len(rows), batch_size)
        return score_options(self, rows, options, row_plans, Reading(system, chat), most)


def _rows(prompts: str | Sequence[str], plans: Plans) -> tuple[list[str], list[Plan]]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    each = [plans or Plan()] if isinstance(plans, Plan) or plans is None else list(plans)
    if not texts:
        raise InputError("expected at least one prompt, got none")
    if not each:
        raise InputError("expected at least one plan, or none at all, got an empty list")
    if len(each) == 1:
        each = each * len(texts)
    elif len(texts) == 1:
        texts = texts * len(each)
    if len(texts) != len(each):
        raise InputError(
            f"expected as many plans as prompts, or one of either, got {len(each)} plans and {len(texts)} prompts"
        )
    return texts, each


def _most(model: Handle, verb: str, count: int, size: int | None) -> int | None:
    """Return how many rows a batch may hold at most; inside other contexts rows stay together as they came."""
    if size is not None and size < 1:
        raise InputError(f"expected a batch size of at least 1, got {size}")
    if around(model):
        size = size or IN_ORDER
        if count > size:
            refuse_plans_by_row(model, verb)
    return size
