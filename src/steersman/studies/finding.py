"""Finding a study's directions: the mean difference at every layer, and a vector learned from it at one."""

from dataclasses import asdict

from steersman.direction import Direction
from steersman.judges import DISCLAIMER_PATTERNS, REFUSAL_PATTERNS, is_disclaimer, is_refusal
from steersman.learning import Optimiser, optimise
from steersman.methods import MeanDifference
from steersman.model.generate import Sampling
from steersman.plan import Plan
from steersman.prompts import Example, Pair, content_hash, prompt_set, split_pairs
from steersman.recording import record
from steersman.studies.config import DirectionConfig, LearningConfig
from steersman.studies.desk import Desk

BATCH = 32

ANSWER_TOKENS = 24
"""Tokens of the model's own answers: enough to see whether one declines."""


def mean_difference(desk: Desk, name: str, part: DirectionConfig) -> Direction:
    """Return the mean difference of a pair file's train split at every layer.

    Args:
        desk: the run at hand.
        name: `refusal` or `honesty`.
        part: pairs, contrast and span.
    """
    items = split_pairs(part.pairs, "train", contrast=part.contrast)
    desk.known(f"{name}-pairs", part.pairs, items)
    total = 2 * len(items)
    done = 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        desk.notify(f"record {name}", done, total)

    def fit() -> Direction:
        acts = record(desk.model, items, span=part.span, opening_tokens=part.opening_tokens, notify=count)
        return MeanDifference().fit(acts)

    recipe = f"mean difference|{content_hash(items)}|{part.model_dump_json()}"
    return desk.fitted(f"{name}-mean", recipe, fit)


def learned(desk: Desk, start: Direction, part: DirectionConfig, how: LearningConfig) -> Direction:
    """Return a vector learned at the start's site: refuse the harmful train prompts, answer ordinary ones as before.

    Args:
        desk: the run at hand.
        start: the mean difference at one layer.
        part: where the pairs come from.
        how: the optimiser's settings.

    The ordinary prompts are the harmless sides of the train pairs and the ordinary set's train split; what is kept is
    the unsteered model's own greedy answer to each, where it answers.
    """
    items = split_pairs(part.pairs, "train", contrast="both")
    wanted = [pair.positive for pair in items]
    prompts = kept_prompts(items)
    settings = Optimiser(**how.model_dump(), seed=desk.config.seed)
    site = start.sites[0]
    steps = 0

    def count(_step: int) -> None:
        nonlocal steps
        steps += 1
        desk.notify(f"learn at {site}", steps, settings.steps)

    def fit() -> Direction:
        sampling = Sampling(max_new_tokens=ANSWER_TOKENS)
        answers: list[str] = []
        for begin in range(0, len(prompts), BATCH):
            part_of = prompts[begin : begin + BATCH]
            answers += [g.text for g in desk.model.complete(part_of, [Plan()] * len(part_of), sampling)]
        # What the model itself declines or disclaims is no answer to hold on to.
        kept = [
            Example(prompt, answer)
            for prompt, answer in zip(prompts, answers, strict=True)
            if answer.strip() and not is_refusal(answer) and not is_disclaimer(answer)
        ]
        return optimise(desk.model, start, wanted, kept, settings, notify=count)

    judge = (ANSWER_TOKENS, REFUSAL_PATTERNS, DISCLAIMER_PATTERNS)
    recipe = f"learned|{judge}|{Plan(start).digest()}|{content_hash(items)}|{prompts!r}|{asdict(settings)}"
    return desk.fitted(f"refusal-learned-{site.layer}", recipe, fit)


def kept_prompts(items: list[Pair]) -> list[str]:
    """Return the prompts to be left alone: the pairs' harmless sides and the ordinary set's train split."""
    return [pair.negative.prompt for pair in items] + [item.prompt for item in prompt_set("ordinary", split="train")]
