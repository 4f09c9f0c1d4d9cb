"""Two hundred simulated studies: nothing is found where nothing is, and what is planted is found as often as promised.

    python benchmarks/simulated_studies.py [--studies 200] [--seed 0]

Every study runs the package's own `evaluate` and `summarise`; only the engine is simulated. It answers yes or no at a
known rate and scores with a known shift, on items of unlike difficulty that all settings share in part.
"""

# The engine and the task are called as real ones are.
# ruff: noqa: ARG002
import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binomtest

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.evaluation import evaluate
from steersman.judges.judge import Metric
from steersman.maths.power import mean_power, paired_power
from steersman.model.generate import Generation, Sampling
from steersman.model.score import Score
from steersman.plan import Plan
from steersman.prompts import PromptItem
from steersman.standing import Aim, against_prompt
from steersman.summary import Report
from steersman.tasks import Outcome, Setting
from steersman.tasks.rows import Rows
from steersman.where import Site

Systems = str | Sequence[str | None] | None

SHARED = 0.7
"""Share of the items on which a setting goes by the item's own luck, the same in all settings."""

NOISE = 0.5
"""Standard deviation of a score about the item's own level, in nats."""

TRIED = 8
"""Coefficients of the null studies."""

ALPHA = 0.05


@dataclass(frozen=True)
class Effect:
    """What a setting does: the rate of yes, and nats added to every score."""

    rate: float
    nats: float = 0.0


@dataclass
class SimulatedEngine:
    """Answers as if a model did, from a seed: the n-th item's luck under a setting is the same whenever asked."""

    effects: dict[str, Effect]
    n: int
    seed: int
    lucks: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def complete(
        self,
        prompts: Sequence[str],
        plans: Sequence[Plan],
        sampling: Sampling,
        system: Systems = None,
        *,
        chat: bool = True,
    ) -> list[Generation]:
        texts: list[str] = []
        for prompt, name in zip(prompts, _names(plans, system), strict=True):
            luck, _ = self._lucks(name)
            texts.append("yes" if luck[int(prompt)] < self.effects[name].rate else "no")
        return [Generation(text, (0,), "stop") for text in texts]

    def score(
        self,
        prompts: str | Sequence[str],
        completions: Sequence[str],
        plans: Plan | Sequence[Plan] | None = None,
        *,
        system: Systems = None,
        batch_size: int | None = None,
        chat: bool = True,
        ranks: bool = False,
        divergence: bool = False,
        entropy: bool = False,
        echo: bool = False,
    ) -> list[Score]:
        assert plans is not None
        assert not isinstance(plans, Plan)
        scores: list[Score] = []
        for prompt, name in zip(prompts, _names(plans, system), strict=True):
            _, level = self._lucks(name)
            scores.append(Score((float(level[int(prompt)]) + self.effects[name].nats,)))
        return scores

    def score_options(self, *_: object, **__: object) -> list[list[Score]]:
        raise NotImplementedError

    def _lucks(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self.lucks:
            own = np.random.default_rng([self.seed, 0])
            fresh = np.random.default_rng([self.seed, 1 + list(self.effects).index(name)])
            common = fresh.random(self.n) < SHARED
            luck = np.where(common, own.random(self.n), fresh.random(self.n))
            self.lucks[name] = luck, own.normal(-2.0, 1.0, self.n) + fresh.normal(0.0, NOISE, self.n)
        return self.lucks[name]


@dataclass(frozen=True)
class SimulatedTask:
    """Says whether the answer was yes, and the score of a fixed text."""

    items: Sequence[PromptItem]
    name: str = "simulated"
    metrics: Sequence[Metric] = (Metric("yes", "rate", ""), Metric("score", "mean", "nats"))

    def settings_key(self) -> str:
        return "simulated"

    def measure(
        self, engine: SimulatedEngine, start: int, stop: int, settings: Sequence[Setting]
    ) -> list[list[Outcome]]:
        rows = Rows(settings, stop - start)
        items = rows.flat(self.items[start:stop])
        prompts = [item.prompt for item in items]
        answers = engine.complete(prompts, rows.plans, Sampling(), rows.systems)
        scores = engine.score(prompts, prompts, rows.plans, system=rows.systems)
        return rows.cut(
            [
                Outcome(item.id, {"yes": float(answer.text == "yes"), "score": score.tokens[0]})
                for item, answer, score in zip(items, answers, scores, strict=True)
            ]
        )

    def remarks(self, outcomes: Sequence[Outcome]) -> list[str]:
        return []


@dataclass(frozen=True)
class Count:
    """How often something happened.

    Args:
        what: in words.
        times: how often.
        studies: of so many.
        expected: the share promised; with `at_most`, an upper bound of it.
        at_most: whether less than expected is as good.
    """

    what: str
    times: int
    studies: int
    expected: float
    at_most: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 99.9 % interval of the share."""
        found = binomtest(self.times, self.studies).proportion_ci(0.999)
        return found.low, found.high

    @property
    def kept(self) -> bool:
        """Whether the share agrees with what was promised."""
        low, high = self.interval
        return low <= self.expected and (self.at_most or self.expected <= high)

    def __str__(self) -> str:
        low, high = self.interval
        sense = "at most " if self.at_most else ""
        share = f"{self.times / self.studies:6.1%} of {self.studies} [{low:.1%}, {high:.1%}]"
        return f"{self.what:66} {share:34} expected {sense}{self.expected:.1%}{'' if self.kept else '   NOT KEPT'}"


def steered(coefficient: float) -> Setting:
    """Return a steered setting whose plan tells it from others; nothing is applied to anything."""
    origin = Origin("simulated", "0" * 64, "", 4, 1, "completion", "0" * 64, 1)
    direction = Direction({Site(0): torch.ones(4)}, {Site(0): 1.0}, origin, "made up")
    return Setting("steered", Plan(direction, coefficient=coefficient), site="resid_post.0", coefficient=coefficient)


def study(settings: Sequence[Setting], effects: Sequence[Effect], n: int, seed: int) -> Report:
    """Return the report of one simulated study: every setting with what it does."""
    named = {_name(s.plan, s.system): effect for s, effect in zip(settings, effects, strict=True)}
    task = SimulatedTask([PromptItem(str(i), str(i)) for i in range(n)])
    return evaluate(SimulatedEngine(named, n, seed), [task], settings)


def null(studies: int, n: int = 60, seed: int = 0) -> list[Count]:
    """Return how often eight coefficients that do nothing are said to do something."""
    settings = [Setting("unsteered"), *(steered((k + 1) / 10) for k in range(TRIED))]
    counts: dict[tuple[str, str], int] = {}
    for number in range(studies):
        report = study(settings, [Effect(0.3)] * len(settings), n, seed + number)
        for metric in ("yes", "score"):
            rows = [row for row in report.differences if row["metric"] == metric]
            for what, any_found in (
                ("adjusted p", any(row["p_adjusted"] <= ALPHA for row in rows)),
                ("adjusted interval", any(row["low_adjusted"] > 0 or row["high_adjusted"] < 0 for row in rows)),
                ("p as it is", any(row["p"] <= ALPHA for row in rows)),
            ):
                counts[metric, what] = counts.get((metric, what), 0) + any_found
    # Unadjusted, independent tests would find something in 1 - 0.95^8 of studies; these share their baseline.
    promised = {"p as it is": 1 - (1 - ALPHA) ** TRIED}
    return [
        Count(
            f"null, {TRIED} coefficients, {metric}, n = {n}: any by {what}",
            times,
            studies,
            promised.get(what, ALPHA),
            True,
        )
        for (metric, what), times in counts.items()
    ]


def planted(studies: int, n: int = 100, seed: int = 10_000) -> list[Count]:
    """Return how often +20 points and +0.2 nats are found, and how often the intervals hold them."""
    base, effect = Effect(0.3), Effect(0.5, 0.2)
    truth = {"yes": effect.rate - base.rate, "score": effect.nats - base.nats}
    discordance = discordance_of(base.rate, effect.rate)
    promised = {
        "yes": paired_power(n, truth["yes"], discordance),
        "score": mean_power(n, truth["score"], NOISE * 2**0.5),
    }
    found, held = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for number in range(studies):
        report = study([Setting("unsteered"), steered(0.3)], [base, effect], n, seed + number)
        for row in report.differences:
            found[row["metric"]] += row["p"] <= ALPHA
            held[row["metric"]] += row["low"] <= truth[row["metric"]] <= row["high"]
    sizes = {"yes": "+20 points", "score": "+0.2 nats"}
    return [
        count
        for metric, size in sizes.items()
        for count in (
            Count(f"planted, {size}, n = {n}: found (p <= 0.05)", found[metric], studies, promised[metric]),
            Count(f"planted, {size}, n = {n}: interval holds it", held[metric], studies, 1 - ALPHA),
        )
    ]


def like_the_prompt(studies: int, n: int = 100, seed: int = 20_000) -> list[Count]:
    """Return how often a vector that does just what the prompt does is told apart from it."""
    settings = [Setting("unsteered"), steered(0.3), Setting("prompt", system="Say yes.")]
    effects = [Effect(0.3), Effect(0.5, -0.2), Effect(0.5, -0.2)]
    apart = 0
    for number in range(studies):
        report = study(settings, effects, n, seed + number)
        standing = against_prompt(report.measured, Aim("simulated", "yes"), [Aim("simulated", "score")])
        assert standing is not None
        apart += "cannot be told apart" not in standing.sentence
    return [Count(f"vector like the prompt, 2 metrics, n = {n}: told apart", apart, studies, ALPHA, True)]


def discordance_of(before: float, after: float) -> float:
    """Return the share of items on which two settings of these rates differ."""
    both = SHARED**2
    return both * abs(after - before) + (1 - both) * (before * (1 - after) + after * (1 - before))


def _name(plan: Plan, system: str | None) -> str:
    return f"{plan.digest()}|{system}"


def _names(plans: Sequence[Plan], system: Systems) -> list[str]:
    """Return every row's setting by name; each plan is hashed once."""
    systems = [system] * len(plans) if system is None or isinstance(system, str) else list(system)
    digests = {id(plan): plan.digest() for plan in {id(plan): plan for plan in plans}.values()}
    return [f"{digests[id(plan)]}|{said}" for plan, said in zip(plans, systems, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for run in (null, planted, like_the_prompt):
        for count in run(given.studies, seed=given.seed + {null: 0, planted: 10_000, like_the_prompt: 20_000}[run]):
            print(count)


if __name__ == "__main__":
    main()
