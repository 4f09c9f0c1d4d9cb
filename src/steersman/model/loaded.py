"""The model as users hold it: a handle that generates and scores, batch by batch."""

from collections.abc import Callable, Sequence

from steersman.errors import InputError
from steersman.model.generate import Generation, Sampling, generate_batch
from steersman.model.handle import Handle
from steersman.model.hooks import refuse_plans_by_row
from steersman.model.score import Reading, Score, score_batch, score_options_batch
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
        system: str | None = None,
        batch_size: int = 32,
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
            system: system prompt of all rows.
            batch_size: rows at a time, at least 1; changes no result beyond rounding.
            notify: called with the number of rows after each batch.

        Raises:
            InputError: for counts that do not match or values out of range.
            InterventionError: when a plan was never applied.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, repetition_penalty, seed)
        texts: list[str] = []
        rows, row_plans = _rows(prompts, plans)
        for part in _parts(self, "generate", len(rows), batch_size):
            texts += [g.text for g in self.complete(rows[part], row_plans[part], sampling, system)]
            if notify:
                notify(part.stop - part.start)
        return texts

    def complete(
        self,
        prompts: Sequence[str],
        plans: Sequence[Plan],
        sampling: Sampling,
        system: str | None = None,
        *,
        chat: bool = True,
    ) -> list[Generation]:
        """Return one generation per prompt, with tokens and how it ended, in a single batch."""
        return generate_batch(self, prompts, plans, sampling, system, chat=chat)

    def score(
        self,
        prompts: str | Sequence[str],
        completions: Sequence[str],
        plans: Plans = None,
        *,
        system: str | None = None,
        batch_size: int = 32,
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
            system: system prompt of all rows.
            batch_size: rows at a time; changes no result beyond rounding.
            chat: `False` reads prompts as plain text also where the model has a chat template.
            ranks: also tell how many tokens of the vocabulary were likelier than each.
            divergence: also tell `KL(unsteered || steered)` of the next-token distributions, nats; costs a second pass.
            entropy: also tell the entropy of the next-token distribution before each, nats.
            echo: also tell the log-probability of every token of prompt and completion right behind itself, nats.

        Raises:
            InputError: for counts that do not match.
        """
        rows, row_plans = _rows([prompts] * len(completions) if isinstance(prompts, str) else prompts, plans)
        if len(rows) != len(completions):
            raise InputError(f"expected one completion per prompt, got {len(completions)} for {len(rows)}")
        reading = Reading(system, chat, ranks, divergence, entropy, echo)
        scores: list[Score] = []
        for part in _parts(self, "score", len(rows), batch_size):
            scores += score_batch(self, rows[part], completions[part], row_plans[part], reading)
        return scores

    def score_options(
        self,
        prompts: Sequence[str],
        options: Sequence[Sequence[str]],
        plans: Plans = None,
        *,
        system: str | None = None,
        batch_size: int = 16,
        chat: bool = True,
    ) -> list[list[Score]]:
        """Return the scores of several completions per prompt; each prompt is read only once.

        Args:
            prompts: one per row.
            options: for each prompt, the same number of completions.
            plans: none, one for all, or one per prompt.
            system: system prompt of all rows.
            batch_size: prompts at a time; changes no result beyond rounding.
            chat: `False` reads prompts as plain text also where the model has a chat template.
        """
        rows, row_plans = _rows(prompts, plans)
        if len(rows) != len(options):
            raise InputError(f"expected options for every prompt, got {len(options)} for {len(rows)}")
        scores: list[list[Score]] = []
        for part in _parts(self, "score_options", len(rows), batch_size):
            scores += score_options_batch(self, rows[part], options[part], row_plans[part], Reading(system, chat))
        return scores


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


def _parts(model: Handle, verb: str, count: int, size: int) -> list[slice]:
    if size < 1:
        raise InputError(f"expected a batch size of at least 1, got {size}")
    if count > size:
        refuse_plans_by_row(model, verb)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
