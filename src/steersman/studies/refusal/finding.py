"""Finding a study's directions: the mean difference at every layer, and a vector learned from it at one."""

import random
from collections.abc import Sequence
from dataclasses import asdict

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.judges import DISCLAIMER_PATTERNS, REFUSAL_PATTERNS, is_disclaimer, is_refusal
from steersman.learning import Optimiser, optimise
from steersman.methods import MeanDifference
from steersman.methods.shuffling import shuffle_labels
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import Example, Pair, content_hash, prompt_set, split_pairs
from steersman.recording import record
from steersman.studies.desk import Desk
from steersman.studies.refusal.config import DirectionConfig, LearningConfig, RefusalConfig

BATCH = 32

ANSWER_TOKENS = 24
"""Tokens of the model's own answers: enough to see whether one declines."""


def mean_difference(desk: Desk[RefusalConfig], name: str, part: DirectionConfig) -> Direction:
    """Return the mean difference of a pair file's train split at every layer.

    Args:
        desk: the run at hand.
        name: `refusal` or `honesty`.
        part: pairs, contrast and span.
    """
    items = split_pairs(part.pairs, "train", contrast=part.contrast)
    desk.known(f"{name}-pairs", part.pairs, items)
    recipe = f"mean difference|{content_hash(items)}|{part.model_dump_json()}"
    return desk.fitted(f"{name}-mean", recipe, lambda: MeanDifference().fit(_recorded(desk, name, items, part)))


def shuffled_mean_difference(desk: Desk[RefusalConfig], name: str, part: DirectionConfig, seed: int) -> Direction:
    """Return the mean difference at every layer as it is fitted after the train pairs' labels were shuffled: a control.

    Args:
        desk: the run at hand.
        name: `refusal` or `honesty`.
        part: pairs, contrast and span.
        seed: of the shuffling.
    """
    items = split_pairs(part.pairs, "train", contrast=part.contrast)

    def fit() -> Direction:
        return MeanDifference().fit(shuffle_labels(_recorded(desk, f"{name}, shuffled", items, part), seed))

    recipe = f"mean difference, labels shuffled|{seed}|{content_hash(items)}|{part.model_dump_json()}"
    return desk.fitted(f"{name}-shuffled-mean", recipe, fit)


def learned(
    desk: Desk[RefusalConfig],
    start: Direction,
    part: DirectionConfig,
    how: LearningConfig,
    *,
    shuffle: int | None = None,
) -> Direction:
    """Return a vector learned at the start's site: refuse the harmful train prompts, answer ordinary ones as before.

    Args:
        desk: the run at hand.
        start: the mean difference at one layer.
        part: where the pairs come from.
        how: the optimiser's settings.
        shuffle: seed with which the labels harmful and ordinary are shuffled among all prompts first: a control.

    The ordinary prompts are the harmless sides of the train pairs and the ordinary set's train split; what is kept is
    the unsteered model's own greedy answer to each, where it answers.
    """
    items = split_pairs(part.pairs, "train", contrast="both")
    refused, refusals = [pair.positive.prompt for pair in items], [pair.positive.completion for pair in items]
    prompts = kept_prompts(items)
    if shuffle is not None:
        pool = refused + prompts
        random.Random(shuffle).shuffle(pool)
        refused, prompts = pool[: len(refused)], pool[len(refused) :]
    settings = Optimiser(**how.model_dump(), seed=desk.config.seed)
    site = start.sites[0]
    steps = 0

    def count(_step: int) -> None:
        nonlocal steps
        steps += 1
        desk.notify(f"learn at {site}{'' if shuffle is None else ', labels shuffled'}", steps, settings.steps)

    def fit() -> Direction:
        wanted = [Example(prompt, text) for prompt, text in zip(refused, refusals, strict=True)]
        return optimise(desk.model, start, wanted, _own_answers(desk, prompts), settings, notify=count)

    judge = (ANSWER_TOKENS, REFUSAL_PATTERNS, DISCLAIMER_PATTERNS)
    recipe = f"learned|{judge}|{Plan(start).digest()}|{content_hash(items)}|{prompts!r}|{asdict(settings)}"
    return desk.fitted(f"refusal-learned-{site.layer}{'' if shuffle is None else '-shuffled'}", recipe, fit)


def _own_answers(desk: Desk[RefusalConfig], prompts: Sequence[str]) -> list[Example]:
    """Return the unsteered model's answers; what it declines or disclaims itself is no answer to hold on to."""
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS)
    answers: list[str] = []
    for begin in range(0, len(prompts), BATCH):
        part = prompts[begin : begin + BATCH]
        answers += [g.text for g in desk.model.complete(part, [Plan()] * len(part), sampling)]
    return [
        Example(prompt, answer)
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.strip() and not is_refusal(answer) and not is_disclaimer(answer)
    ]


def _recorded(desk: Desk[RefusalConfig], name: str, items: Sequence[Pair], part: DirectionConfig) -> Activations:
    done = 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        desk.notify(f"record {name}", done, 2 * len(items))

    return record(desk.model, items, span=part.span, opening_tokens=part.opening_tokens, notify=count)


def kept_prompts(items: list[Pair]) -> list[str]:
    """Return the prompts to be left alone: the pairs' harmless sides and the ordinary set's train split."""
    return [pair.negative.prompt for pair in items] + [item.prompt for item in prompt_set("ordinary", split="train")]
