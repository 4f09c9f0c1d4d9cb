"""Selecting: site x edit x coefficient under a budget, chosen on validation items and confirmed on test items.

At every site and for every edit an adaptive search first finds what the coherence rule recommends; no more than that is
ever taken. Where it costs more than the budget allows, gentler coefficients are measured until one keeps it. Of these
candidates the one with the largest effect on the validation items is chosen. Only then are the test items touched,
once: at the choice, at half and at one and a half times of it, and under a random vector of equal norm.
"""

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from steersman.considering import Place, Search
from steersman.direction import Direction
from steersman.edits import Add, Edit
from steersman.errors import InputError
from steersman.evaluation import Store, evaluate
from steersman.maths.statistics import Estimate
from steersman.model.loaded import Model
from steersman.objectives import Measure, Objective, cost_measures, objective_named, objective_of
from steersman.plan import edit_words
from steersman.range import LONGEST, Range
from steersman.selected import Considered, Point, Selection, nothing_within, reason_of
from steersman.selection.budget import Budget
from steersman.selection.coefficient import MOST, PROMPTS, choose_coefficient, takes_fractions
from steersman.selection.curve import Rule
from steersman.selection.site import Candidate, SiteChoice, choose_site
from steersman.summary import Report
from steersman.tasks import Outcome, Setting, Task
from steersman.where import Site, eligible_layers

SITES = 6
"""Sites that are tried where nobody says which, at even distances."""

DEPTH = (0.2, 0.8)
"""Shares of the depth between which they lie: later a direction acts on the output tokens (Arditi et al., 2024)."""

MULTIPLES = (0.5, 1.0, 1.5)
"""Of the recommendation, measured on the test items."""

Notify = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all."""


@final
@dataclass(frozen=True)
class _Batches(MutableMapping[str, Mapping[str, Any]]):
    """The batches of a search, kept among the outcomes of finished items.

    Args:
        store: where.
        context: identity of the model, which the addresses of a search do not hold.
    """

    store: Store
    context: str

    def __getitem__(self, address: str) -> Mapping[str, Any]:
        return self.store[self._key(address)].details

    def __setitem__(self, address: str, batch: Mapping[str, Any]) -> None:
        self.store[self._key(address)] = Outcome("batch", {}, batch)

    def __delitem__(self, address: str) -> None:
        del self.store[self._key(address)]

    def __iter__(self) -> Iterator[str]:
        begin = self._key("")
        return (key.removeprefix(begin) for key in self.store if key.startswith(begin))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _key(self, address: str) -> str:
        return f"search:{self.context}:{address}"


def select(
    model: Model,
    direction: Direction,
    *,
    budget: Budget | str,
    target: Objective | Task | str = "expression",
    sites: Sequence[int | float | Site] | None = None,
    edits: Sequence[Edit] = (Add(),),
    sign: int = 1,
    rule: str | Rule = "default",
    concept: str | None = None,
    prompts: Sequence[str] = PROMPTS,
    span: str = "all",
    unit: str = "norm",
    most: int = MOST,
    limit: int | None = None,
    seed: int = 0,
    costs: Sequence[Measure] | None = None,
    confirm: bool = True,
    store: Store | None = None,
    notify: Notify | None = None,
) -> Selection:
    """Return where and how strongly to steer with a direction, the gain as large as a budget allows.

    Args:
        model: the model.
        direction: the sites to choose from are its own.
        budget: the most that steering may cost, such as `kl=0.5,over-refusal=0.05`.
        target: what is to be gained: a name of `OBJECTIVES`, an `Objective`, or a task, whose items are then halved
            between choosing and confirming. `expression` is how far completions move along the direction itself.
        sites: layers or sites to choose from; where not given, 6 between a fifth and four fifths of the depth.
        edits: how; each is tried at every site.
        sign: 1, or -1 for the other side of the direction. Fractions stay positive: an ablation, which takes the
            positive side out, is an answer to -1.
        rule: what says where coherence ends, a name of `RULES` or one of your own.
        concept: what this sign is to bring, in words, for rules and targets that read it.
        prompts: completed in the search for a coefficient; none of the items that choose or confirm.
        span: the tokens to steer.
        unit: of coefficients, `norm` or `raw`.
        most: completions of each search.
        limit: at most so many items of every measure; each measure's own number where not given.
        seed: of the bootstrap and of the random control.
        costs: what measures the costs of the budget, in its units; the built-in measures where not given.
        confirm: `False` leaves the test items alone, for whoever measures more on them than the choice.
        store: finished items and batches of completions by content address; found ones are not computed again, so
            that a selection that was interrupted goes on where it was.
        notify: progress.

    Raises:
        InputError: for a target or budget that is none, costs that are not the budget's, a target whose task measures
            a cost as well, or a site that the direction does not hold.
    """
    limits = Budget.parse(budget) if isinstance(budget, str) else budget
    held = candidates_of(direction, sites)
    aim = _aim(target, held, concept, sign, limit, seed)
    kept: Store = {} if store is None else store
    measures = tuple(cost_measures(limits, limit) if costs is None else costs)
    if sorted(each.name for each in measures) != sorted(limits.limits):
        given = ", ".join(each.name for each in measures) or "none"
        raise InputError(f"expected a measure of each cost in the budget ({', '.join(limits.limits)}), got {given}")
    search = Search(model, held, aim, measures, limits, span, unit, kept)
    check_tasks((aim.measure, *search.costs))
    tell = notify or (lambda *_: None)
    places = [(site, edit) for site in held.sites for edit in edits]
    if not places:
        raise InputError("expected at least one edit to select from, got none")
    found: list[Place] = []
    tell("sites", 0, len(places))
    for site, edit in places:
        choice = choose_coefficient(
            model,
            held.at(site),
            prompts,
            rule=rule,
            # A fraction has one sign, whichever way it is to move the model.
            sign=1 if takes_fractions(edit) else sign,
            edit=edit,
            span=span,
            unit=unit,
            concept=concept,
            most=most,
            memory=_Batches(kept, model.identity),
        )
        found.append(Place(site, edit, choice))
        # The last one is finished when it is known what all of them cost.
        tell("sites", min(len(found), len(places) - 1), len(places))
    considered = search.considered(found)
    tell("sites", len(places), len(places))
    chosen, ranked = _chosen(considered, limits, aim)
    if chosen is None:
        reason = nothing_within(considered, limits)
        ranges = _ranges(considered, limits)
        return Selection(
            "nothing within budget", None, tuple(considered), ranked, (), aim.name, aim.unit, sign, limits, ranges,
            held, reason,
        )  # fmt: skip
    assert ranked is not None
    report, points = None, ()
    if confirm:
        how = next(edit for edit in edits if edit_words(edit) == chosen.edit)
        report, points = _confirmed(search, chosen, how, seed, tell)
    reason = reason_of(chosen, ranked, points, considered, limits)
    return Selection(
        "chosen", chosen, tuple(considered), ranked, points, aim.name, aim.unit, sign, limits,
        _ranges(considered, limits), held, reason, report,
    )  # fmt: skip


def candidates_of(direction: Direction, sites: Sequence[int | float | Site] | None = None) -> Direction:
    """Return a direction at the sites to choose from.

    Args:
        direction: with all its sites.
        sites: layers or sites; where not given, at most 6 at even distances between a fifth and four fifths of the
            depth, and all of a direction that holds none there.

    Raises:
        InputError: for a site that the direction does not hold.
    """
    if sites is not None:
        return direction.at(*sites)
    try:
        layers = set(eligible_layers(direction.origin.depth, *DEPTH))
    except InputError:
        layers = set[int]()
    found = [site for site in direction.sites if site.layer in layers] or direction.sites
    count = min(SITES, len(found))
    return direction.at(*(found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)))


def check_tasks(measures: Sequence[Measure]) -> None:
    """Refuse two tasks of one name: the items of one would confirm what was chosen on the other's.

    Args:
        measures: the target's and the costs'.

    Raises:
        InputError: naming the task and the cost.
    """
    tasks: dict[str, Task] = {}
    for each in measures:
        if tasks.setdefault(each.test.name, each.test) is not each.test:
            raise InputError(
                f"expected a target that the budget does not limit, got the task {each.test.name!r} for both; take the "
                f"cost {each.name} out of the budget, or give the target's task another name"
            )


def _aim(
    target: Objective | Task | str, direction: Direction, concept: str | None, sign: int, limit: int | None, seed: int
) -> Objective:
    if isinstance(target, Objective):
        return target
    if isinstance(target, str):
        return objective_named(target, direction, concept=concept, sign=sign, limit=limit)
    return objective_of(target, sign=sign, limit=limit, seed=seed)


def _chosen(
    considered: Sequence[Considered], budget: Budget, aim: Objective
) -> tuple[Considered | None, SiteChoice | None]:
    """Return the best candidate by the budget's rule, and the rule's view of all that had a coefficient."""
    by_candidate: dict[int, Considered] = {}
    candidates: list[Candidate] = []
    for each in considered:
        if each.coefficient is None or each.effect is None:
            continue
        candidate = Candidate(each.site, each.effect, each.costs, coefficient=each.coefficient, flaws=each.dropped)
        by_candidate[id(candidate)] = each
        candidates.append(candidate)
    if not candidates:
        return None, None
    ranked = choose_site(candidates, budget, measure=f"effect on {aim.name} ({aim.unit})")
    return (by_candidate[id(ranked.chosen.candidate)] if ranked.chosen else None), ranked


def _confirmed(
    search: Search, chosen: Considered, edit: Edit, seed: int, tell: Notify
) -> tuple[Report, tuple[Point, ...]]:
    """Return the test items at multiples of the choice and under a random vector, against the unsteered model."""
    assert chosen.coefficient is not None
    best = chosen.coefficient
    settings, labels = [Setting("unsteered")], [""]
    for multiple in MULTIPLES:
        size = multiple * best
        try:
            settings.append(search.setting(chosen.site, edit, size))
        except InputError:
            continue  # one and a half times a fraction can be more than all of it
        labels.append(f"{multiple:g}x")
    drawn = replace(search, direction=search.direction.at(chosen.site).random(seed))
    settings.append(replace(drawn.setting(chosen.site, edit, best), arm="random", seed=seed))
    labels.append("random direction, 1x")
    measures = (search.objective.measure, *search.costs)
    tasks = list({each.test.name: each.test for each in measures}.values())
    total, done = len(settings) * sum(len(task.items) for task in tasks), 0

    def notify(count: int) -> None:
        nonlocal done
        done += count
        tell("confirm", done, total)

    tell("confirm", 0, total)
    report = evaluate(
        search.model, tasks, settings, context=search.model.identity, store=search.store, seed=seed, notify=notify
    )
    points: list[Point] = []
    for setting, label in zip(settings[1:], labels[1:], strict=True):
        effect = _difference(report, search.objective.measure, setting)
        costs = {each.name: _difference(report, each, setting) for each in search.costs}
        # A cost of no item was not measured: that is no cost of 0.
        broken = search.budget.broken({name: value.value if value.n else math.nan for name, value in costs.items()})
        points.append(Point(label, setting.coefficient, effect, costs, tuple(broken)))
    return report, tuple(points)


def _difference(report: Report, what: Measure, setting: Setting) -> Estimate:
    """Return the paired difference of a measure, turned and scaled to its own unit."""
    wanted = (what.test.name, what.metric, setting.arm, setting.coefficient)
    for row in report.differences:
        if (row["task"], row["metric"], row["arm"], row["coefficient"]) == wanted:
            low, value, high = (what.scale * row[name] + 0.0 for name in ("low", "value", "high"))
            return Estimate(value, min(low, high), max(low, high), row["n"])
    # Nothing but empty completions has no metric: no item shows any change.
    return Estimate(0.0, 0.0, 0.0, 0)


def _ranges(considered: Sequence[Considered], budget: Budget) -> tuple[Range, ...]:
    """Return a range for every place; it recommends what keeps rule and budget and gains something, else nothing."""
    found: list[Range] = []
    for each in considered:
        recommended = None if each.coefficient is None or each.dropped else abs(each.coefficient)
        for own in each.choice.ranges:
            words = (
                f"{own.reason}; within {budget.words}" if recommended else f"{own.reason}; {', '.join(each.dropped)}"
            )
            # A rule of one's own may recommend what lies behind its alarm; a range is what can be used.
            most = None if recommended is None else min(recommended, own.limit)
            found.append(replace(own, recommended=most, reason=words[:LONGEST]))
    return tuple(found)
