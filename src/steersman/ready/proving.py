"""Proving a ready direction: what it does on prompts that nothing was fitted to or chosen on, beside a random one.

Each sign stands at the coefficient that its file recommends; the random direction has the same length, site and
coefficient. What is measured for the effect does not look at the direction; what the text lost is read off the same
completions, in the eyes of the unsteered model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.evaluation import evaluate
from steersman.maths.statistics import Estimate
from steersman.model.loaded import Model
from steersman.objectives import SHORT
from steersman.plan import Plan
from steersman.prompts import prompt_set
from steersman.ready.concepts import CONCEPTS
from steersman.ready.loading import EDIT, UNIT, Ready
from steersman.summary import Report
from steersman.tasks import CoherenceTask, Setting
from steersman.tasks.named import spread

PROMPTS = 60
"""Ordinary prompts that are completed where the effect is measured without completions."""


@dataclass(frozen=True)
class Side:
    """What one sign came to on held-out prompts.

    Args:
        sign: 1 or -1.
        coefficient: signed, a fraction of the residual norm.
        effect: paired change to the unsteered model, with its 95 % interval; above 0 is what the sign is to bring.
        random: the same under a random direction of equal length.
        logprob: change of the completions' mean log-probability in the eyes of the unsteered model, nats per token.
        repetition: change of the share of token pairs that stood in the completion before.
        least: the mean log-probability itself, nats per token.
    """

    sign: int
    coefficient: float
    effect: Estimate
    random: Estimate
    logprob: Estimate
    repetition: Estimate
    least: float

    @property
    def shown(self) -> bool:
        """Whether the effect's interval lies above 0, and the effect above the random direction's interval."""
        return self.effect.low > 0 and self.effect.value > self.random.high


@dataclass(frozen=True)
class Proof:
    """What a ready direction came to.

    Args:
        name: of the direction.
        unit: of the effect.
        unsteered: the measure without steering.
        sides: one for each sign that recommends a coefficient.
        examples: a few held-out prompts, each with its completions by coefficient.
    """

    name: str
    unit: str
    unsteered: float
    sides: tuple[Side, ...]
    examples: tuple[Mapping[str, Any], ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        sides = [
            {
                key: vars(value) if isinstance(value, Estimate) else value
                for key, value in (vars(side) | {"shown": side.shown}).items()
            }
            for side in self.sides
        ]
        return vars(self) | {"sides": sides, "examples": list(self.examples)}


def prove(
    model: Model,
    ready: Ready,
    *,
    limit: int | None = None,
    seed: int = 0,
    notify: Callable[[int, int], None] | None = None,
) -> Proof:
    """Return what a ready direction does at its recommended coefficients, on prompts of the test split.

    Args:
        model: the model it was made for.
        ready: one of the six, which say how their effect is measured.
        limit: at most so many prompts of every measure.
        seed: of the random direction and the bootstrap.
        notify: called with outcomes done and in all.

    Raises:
        KeyError: for a direction that is none of the six.
    """
    concept = CONCEPTS[ready.name]
    aim = concept.aim(ready.direction, 1, limit)
    tasks, texts = [aim.measure.test], aim.measure.test
    if not any(metric.name == "completion_logprob" for metric in texts.metrics):
        # What is only scored shows no text: ordinary prompts do.
        texts = CoherenceTask(spread(prompt_set("ordinary"), limit or PROMPTS), name="ordinary", sampling=SHORT)
        tasks.append(texts)
    site = str(ready.site)
    signs = {sign: found for sign in (1, -1) if (found := _recommended(ready, sign)) is not None}
    settings = [Setting("unsteered")]
    drawn = ready.direction.random(seed)
    for coefficient in signs.values():
        settings.append(Setting("steered", ready.plan(coefficient), site=site, coefficient=coefficient))
        plan = Plan(drawn, span=ready.span, coefficient=coefficient, unit=UNIT)
        settings.append(Setting("random", plan, site=site, coefficient=coefficient, seed=seed))
    total, done = len(settings) * sum(len(task.items) for task in tasks), 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if notify:
            notify(done, total)

    report = evaluate(model, tasks, settings, seed=seed, notify=tell)
    sides: list[Side] = []
    for sign, coefficient in signs.items():
        effect, control = (
            _difference(report, aim.measure.test.name, aim.measure.metric, arm, coefficient, sign * aim.measure.scale)
            for arm in ("steered", "random")
        )
        logprob, repetition = (
            _difference(report, texts.name, metric, "steered", coefficient)
            for metric in ("completion_logprob", "repetition")
        )
        least = _value(report, texts.name, "completion_logprob", "steered", coefficient)
        sides.append(Side(sign, coefficient, effect, control, logprob, repetition, least))
    plain = aim.measure.scale * _value(report, aim.measure.test.name, aim.measure.metric, "unsteered", 0.0)
    return Proof(ready.name, aim.unit, plain, tuple(sides), _examples(report, texts.name))


def _recommended(ready: Ready, sign: int) -> float | None:
    found = ready.range(sign)
    return None if found is None or (found.unit, found.edit) != (UNIT, EDIT) else found.coefficient


def _difference(report: Report, task: str, metric: str, arm: str, coefficient: float, scale: float = 1.0) -> Estimate:
    for row in report.differences:
        if (row["task"], row["metric"], row["arm"], row["coefficient"]) == (task, metric, arm, coefficient):
            low, value, high = (scale * row[name] + 0.0 for name in ("low", "value", "high"))
            return Estimate(value, min(low, high), max(low, high), row["n"])
    # Nothing but empty completions has no metric.
    return Estimate(0.0, 0.0, 0.0, 0)


def _value(report: Report, task: str, metric: str, arm: str, coefficient: float) -> float:
    wanted = (task, metric, arm, coefficient)
    rows = (row for row in report.rows if (row["task"], row["metric"], row["arm"], row["coefficient"]) == wanted)
    return next((float(row["value"]) for row in rows), float("nan"))


def _examples(report: Report, task: str, count: int = 3) -> tuple[Mapping[str, Any], ...]:
    """Return the first prompts with their completions without steering and at each coefficient."""
    found: dict[str, dict[str, Any]] = {}
    for each in report.measured:
        if each.task.name != task or each.setting.arm == "random":
            continue
        for outcome in each.outcomes[:count]:
            texts = found.setdefault(outcome.details["prompt"], {})
            texts[f"{each.setting.coefficient:+g}" if each.setting.coefficient else "0"] = outcome.details["completion"]
    return tuple({"prompt": prompt, "completions": texts} for prompt, texts in found.items())
