"""Which rule finds the better site: measured causal effect against the length, the depth and the probe.

    python benchmarks/site_rules.py [--data ../shared/data] [--budget kl=0.1] [--quick] [--json]

For refusal (published prompts) and two personas (built-in statements), on the default model. Directions are mean
differences at every block's input. Each rule takes one site on validation data:

* `causal`: the largest effect at the coefficient where the budget is spent (`choose_site` over `at_budget`);
* `Arditi et al.`: their rule exactly, for refusal; and the same with no limit on what must be induced, which a model
  that hardly ever refuses cannot reach;
* the baselines: the longest vector, 40 % of the depth, the best AUROC.

At every rule's site the coefficient that spends the budget is found on validation data, so that all are compared at
equal cost. The effect, and what it then really costs, are measured on the sets that report. Effects are changes from
the unsteered model, item by item; differences between rules are paired. Intervals are 95 %.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import steersman
from steersman.direction import Direction
from steersman.maths.statistics import mean_interval
from steersman.methods import MeanDifference
from steersman.plan import Plan
from steersman.prompts import Example, Pair, PromptItem, Split, passages, prompt_set
from steersman.recording import record, record_texts
from steersman.selection import (
    Budget,
    Candidate,
    CausalLimits,
    Dose,
    Prompts,
    SiteChoice,
    at_budget,
    at_depth,
    best_auroc,
    causal_site,
    choose_causal,
    choose_site,
    largest_norm,
)
from steersman.tasks import DriftTask, HonestyTask, RefusalOddsTask, Setting, Task

COEFFICIENTS = (0.05, 0.1, 0.2, 0.4)
"""Norm units at which every site is measured; between them effect and cost are interpolated."""
PERSONAS = {"cheerful": ("cheerful", "gloomy"), "formal": ("formal", "casual")}
ASK = "Answer the way somebody very {} would. Let everything you say show it."
ROWS = 16
ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Sizes:
    """So many items of everything, and every so-manieth layer."""

    build: int = 256
    choose: int = 32
    report: int = 100
    passages: int = 12
    causal: int = 24
    stride: int = 1


QUICK = Sizes(build=24, choose=4, report=6, passages=2, causal=3, stride=7)


@dataclass(frozen=True)
class Behaviour:
    """What is steered, and how its effect is measured."""

    name: str
    unit: str
    metric: str
    direction: Direction
    choose: Task
    report: Task
    side: Task | None = None
    exact: dict[str, tuple[SiteChoice, Direction | None]] = field(default_factory=dict)


def lines(path: Path, limit: int | None = None) -> list[str]:
    """Return the prompts of a file."""
    if not path.is_file():
        raise SystemExit(f"expected the published prompts in {path}; give --data, or see docs/benchmarks.md")
    return [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][
        :limit
    ]


def spread(direction: Direction, stride: int) -> Direction:
    """Return every so-manieth layer of a direction; the first block's input is only embeddings."""
    return direction.at(*direction.sites[1::stride])


def refusal(model: steersman.Model, data: Path, sizes: Sizes) -> Behaviour:
    """Return refusal of harmful prompts, with the exact rule's choices."""
    safety = data / "safety"
    sides = [lines(safety / f"{name}_train.jsonl", sizes.build) for name in ("harmful", "harmless")]
    harmful, harmless = (lines(safety / f"{name}_val.jsonl") for name in ("harmful", "harmless"))
    # Prompts that end alike differ in nothing at the last token of the first block: from the second on they do.
    layers = range(1, model.depth)
    texts = [[Example(text) for text in side] for side in sides]
    acts = record_texts(model, *texts, span="last", layers=layers, points=["resid_pre"])
    direction = spread(MeanDifference().fit(acts), sizes.stride)
    few = sizes.causal
    found = causal_site(
        model,
        Prompts(*sides),
        Prompts(harmful[:few], harmless[:few]),
        layers=[site.layer for site in direction.sites],
        positions=None if sizes.stride == 1 else [-1],
    )
    candidates = [each.candidate for each in found.choice.judged]
    freely = choose_causal(candidates, model.depth, CausalLimits(induce=-1e9))
    exact: dict[str, tuple[SiteChoice, Direction | None]] = {}
    for name, choice in (("Arditi et al.", found.choice), ("Arditi et al., any induce", freely)):
        exact[name] = (choice, replace(found, choice=choice).direction if choice.chosen else None)
    rest = harmless[few:]
    return Behaviour(
        "refusal",
        "change of the refusal log-odds, nats",
        "refusal_log_odds",
        direction,
        RefusalOddsTask(_items(harmful[: sizes.choose]), "choose"),
        RefusalOddsTask(_items(lines(safety / "jailbreakbench.jsonl", sizes.report)), "report"),
        RefusalOddsTask(_items(rest[: sizes.report]), "harmless"),
        exact,
    )


def persona(model: steersman.Model, name: str, sizes: Sizes) -> Behaviour:
    """Return a persona: are replies given when asked to be so likelier than those when asked to be the opposite?"""
    concept, opposite = PERSONAS[name]
    pairs = steersman.persona_pairs(concept, opposite, limit=sizes.build)
    acts = record(model, pairs, span="end", layers=range(1, model.depth), points=["resid_pre"])
    tasks: list[Task] = []
    splits: list[tuple[Split, int]] = [("validation", sizes.choose), ("test", sizes.report)]
    for split, count in splits:
        prompts = [item.prompt for item in prompt_set("ordinary", split=split)][:count]
        said = [
            model.generate(prompts, system=ASK.format(word), max_new_tokens=ANSWER_TOKENS, batch_size=ROWS)
            for word in (concept, opposite)
        ]
        rows = zip(prompts, *said, strict=True)
        # Where both personas say the same, or nothing, there is nothing to tell apart.
        held = [
            Pair(f"{split}-{i}", Example(prompt, one), Example(prompt, other))
            for i, (prompt, one, other) in enumerate(rows)
            if one.strip() and other.strip() and one != other
        ]
        tasks.append(HonestyTask(held, split))
    unit = f"change of log p of {concept} less {opposite} replies, nats per token"
    direction = spread(MeanDifference().fit(acts), sizes.stride)
    return Behaviour(f"persona {name}", unit, "truthful_margin", direction, tasks[0], tasks[1])


def _items(prompts: Sequence[str]) -> list[PromptItem]:
    return [PromptItem(str(i), prompt) for i, prompt in enumerate(prompts)]


def values(model: steersman.Model, task: Task, plan: Plan, metric: str) -> list[float]:
    """Return a metric's value for every item."""
    setting = Setting("steered", plan)
    starts = range(0, len(task.items), ROWS)
    outcomes = [
        each
        for start in starts
        for each in task.measure(model, start, min(start + ROWS, len(task.items)), [setting])[0]
    ]
    return [outcome.metrics[metric] for outcome in outcomes]


def changes(model: steersman.Model, task: Task, metric: str, plan: Plan, before: Sequence[float]) -> list[float]:
    """Return every item's change from the unsteered model."""
    return [after - old for after, old in zip(values(model, task, plan, metric), before, strict=True)]


def spending(
    model: steersman.Model, behaviour: Behaviour, one: Direction, drift: Task, budget: Budget, before: Sequence[float]
) -> Candidate:
    """Return a one-site direction at the coefficient that spends the budget, measured on validation data."""
    doses: list[Dose] = []
    for coefficient in COEFFICIENTS:
        plan = Plan(one, coefficient=coefficient)
        effect = mean(changes(model, behaviour.choose, behaviour.metric, plan, before))
        doses.append(Dose(coefficient, effect, {"kl": mean(values(model, drift, plan, "drift"))}))
        if not budget.within(doses[-1].costs):
            break  # what comes behind the crossing is not looked at
    return at_budget(Candidate(one.sites[0], float("nan")), doses, budget)


def mean(numbers: Sequence[float]) -> float:
    """Return the mean."""
    return sum(numbers) / len(numbers)


def compare(model: steersman.Model, behaviour: Behaviour, sizes: Sizes, budget: Budget) -> dict[str, Any]:
    """Return what every rule chose, what it does on the sets that report, and the differences from the causal rule."""
    direction = behaviour.direction
    drift = {split: DriftTask(passages(split=split)[: sizes.passages], split) for split in ("validation", "test")}
    plain = values(model, behaviour.choose, Plan(), behaviour.metric)

    def spend(one: Direction) -> Candidate:
        return spending(model, behaviour, one, drift["validation"], budget, plain)

    at_sites = {site: spend(direction.at(site)) for site in direction.sites}
    causal = choose_site(list(at_sites.values()), budget, measure=behaviour.unit)
    rules: dict[str, tuple[SiteChoice, Direction | None]] = {"causal": (causal, None)} | behaviour.exact
    rules |= {each.rule: (each, None) for each in (largest_norm(direction), at_depth(direction), best_auroc(direction))}
    before = values(model, behaviour.report, Plan(), behaviour.metric)
    calm = values(model, behaviour.side, Plan(), behaviour.metric) if behaviour.side else []
    rows: list[dict[str, Any]] = []
    effects: dict[str, list[float]] = {}
    for name, (choice, own) in rules.items():
        if choice.chosen is None:
            rows.append({"rule": name, "site": None, "reason": choice.reason})
            continue
        one = own or direction.at(choice.site)
        spent = spend(one) if own else at_sites[choice.site]
        plan = Plan(one, coefficient=spent.coefficient or 0.0)
        effects[name] = changes(model, behaviour.report, behaviour.metric, plan, before)
        row = {"rule": name, "site": str(choice.site), "position": choice.best.position, "reason": choice.reason}
        row |= {"coefficient": spent.coefficient, "spent_on_validation": spent.figures["spent"]}
        row |= {"effect": asdict(mean_interval(effects[name]))}
        row |= {"kl": asdict(mean_interval(values(model, drift["test"], plan, "drift")))}
        if behaviour.side:
            side = changes(model, behaviour.side, behaviour.metric, plan, calm)
            row["effect_on_harmless"] = asdict(mean_interval(side))
        rows.append(row)
    return {
        "behaviour": behaviour.name,
        "unit": behaviour.unit,
        "rules": rows,
        "differences": [
            {"rule": "causal", "less": name, **asdict(mean_interval(_less(effects["causal"], held)))}
            for name, held in effects.items()
            if name != "causal" and "causal" in effects
        ],
        "profile": causal.profile,
        "profiles": {name: choice.profile for name, (choice, _) in rules.items() if name != "causal"},
    }


def _less(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def show(found: dict[str, Any]) -> None:
    """Print a behaviour's table."""
    print(f"\n{found['behaviour']}: {found['unit']}")
    for row in found["rules"]:
        if row["site"] is None:
            print(f"  {row['rule']:<28} {row['reason']}")
            continue
        where = row["site"] + (f" token {row['position']}" if row["position"] else "")
        told = [f"{name} {_interval(row[name])}" for name in ("effect", "kl", "effect_on_harmless") if name in row]
        print(f"  {row['rule']:<28} {where:<24} x {row['coefficient']:.3f} norm  {', '.join(told)}")
    for each in found["differences"]:
        print(f"  causal less {each['less']:<28} {_interval(each)}  n = {each['n']}")


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def main() -> None:
    """Compare the rules and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("STEERSMAN_DATA", "../shared/data")))
    parser.add_argument("--budget", default="kl=0.1", help="nats per token of plain text; kl alone is measured here")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--only", choices=["refusal", *PERSONAS], help="one behaviour")
    parser.add_argument("--quick", action="store_true", help="a few items and layers, to see that every line runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    budget, sizes = Budget.parse(chosen.budget), QUICK if chosen.quick else Sizes()
    if set(budget.limits) != {"kl"}:
        parser.error(f"expected a budget of kl alone, which is what is measured here, got {budget}")
    model = steersman.load(dtype=chosen.dtype)
    found: list[dict[str, Any]] = []
    for name in [chosen.only] if chosen.only else ["refusal", *PERSONAS]:
        make = refusal(model, chosen.data, sizes) if name == "refusal" else persona(model, name, sizes)
        found.append(compare(model, make, sizes, budget))
        if not chosen.json:
            show(found[-1])
    if chosen.json:
        facts = {"model": model.name, "revision": model.revision, "dtype": str(model.dtype), "budget": str(budget)}
        print(json.dumps(facts | {"sizes": asdict(sizes), "behaviours": found}, indent=2, allow_nan=False))


if __name__ == "__main__":
    main()
