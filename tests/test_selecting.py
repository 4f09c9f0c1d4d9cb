"""Selecting, on planted effects and costs: what is chosen, what is dropped and said, when test items are read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from fakes import FakeEngine
from steersman import objectives, selecting
from steersman.considering import SPENT
from steersman.edits import Ablate, Add
from steersman.errors import InputError
from steersman.maths.statistics import Estimate
from steersman.model.score import Score
from steersman.objectives import Measure, Objective, cost_measures, objective_named, objective_of
from steersman.prompts import Passage, PromptItem
from steersman.selecting import candidates_of, select
from steersman.selection.budget import KNOWN, Budget
from steersman.selection.curve import Curve, Pick
from steersman.tasks import FluencyTask, Metric, Outcome, RefusalOddsTask
from steersman.tasks.expression import ExpressionTask
from steersman.where import Site
from tiny import direction, tiny_model

SLOPES = {0: 1.0, 1: 3.0, 2: 2.0, 3: -1.0}
"""Planted effect of coefficient 1 by layer, of the direction itself; a random one does a tenth."""
PRICES = {0: 1.0, 1: 4.0, 2: 1.0, 3: 1.0}
"""Planted divergence of coefficient 1, which grows with its square."""
HELD = direction(1, [0, 1, 2, 3])


def of_plan(plan, by_layer: dict[int, float], power: int) -> float:
    return sum(by_layer[step.site.layer] * abs(step.coefficient) ** power for step in plan)


@dataclass
class Planted(FakeEngine):
    """Costs what is planted, and says how strongly it is steered."""

    identity: str = "planted"

    def _say(self, prompt, plan, system) -> str:
        return f"so strongly: {sum(step.coefficient for step in plan)!r}"

    def score(self, prompts, completions, plans=None, **how):
        scores = super().score(prompts, completions, plans, **how)
        if not how.get("divergence"):
            return scores
        return [Score((-1.0,), divergence=(of_plan(plan, PRICES, 2),)) for plan in plans]


@dataclass(frozen=True)
class PlantedTask:
    """Reports the planted effect, a little different from item to item, and notes what was read."""

    items: Sequence[PromptItem]
    name: str = "planted"
    log: list[str] = field(default_factory=list, compare=False)
    metrics: tuple[Metric, ...] = (Metric("effect", "mean", "points"), Metric("nothing", "mean", "points"))

    def settings_key(self) -> str:
        return "planted"

    def remarks(self, outcomes) -> list[str]:
        del outcomes
        return []

    def measure(self, engine, start, stop, settings) -> list[list[Outcome]]:
        del engine
        found: list[list[Outcome]] = [[] for _ in settings]
        for setting, own in zip(settings, found, strict=True):
            value = sum(
                SLOPES[step.site.layer]
                * step.coefficient
                * (1.0 if bool((HELD.units(step.site) @ step.vector / step.vector.norm() > 0.99).item()) else 0.1)
                for step in setting.plan
            )
            for number, item in enumerate(self.items[start:stop], start):
                self.log.append(item.id)
                own.append(Outcome(item.id, {"effect": value * (1 + 0.01 * (number % 3)), "nothing": 0.0}))
        return found


@dataclass(frozen=True)
class UpTo:
    """Recommends the strongest coefficient up to one; never coherent where that is 0. The alarm may ring before."""

    most: float
    name: str = "up to"
    signals: tuple[str, ...] = ()
    alarm: float | None = None

    def pick(self, curve: Curve) -> Pick:
        tried = curve.coefficients[-1]
        if not self.most:
            return Pick("never coherent", None, None, curve.coefficients[1], tried, "it never is")
        sign = 1 if tried > 0 else -1
        alarm = self.alarm or next((c for c in curve.coefficients if abs(c) > self.most), None)
        return Pick("found", sign * self.most, None, alarm, tried, f"up to {self.most:g}")


def prompts(name: str, count: int) -> list[PromptItem]:
    return [PromptItem(f"{name}-{i}", f"{name} {i}") for i in range(count)]


def planted_objective(log: list[str], scale: float = 1.0) -> Objective:
    parts = [PlantedTask(prompts(name, 6), log=log) for name in ("choose", "confirm")]
    return Objective(Measure("planted effect", "effect", parts[0], parts[1], scale), "points")


def selected(*, rule=UpTo(0.8), budget="kl=100", log=None, scale=1.0, **how):
    aim = planted_objective([] if log is None else log, scale)
    how = {"sites": [0, 1, 2, 3], "limit": 3, "target": aim} | how
    return select(Planted(), HELD, budget=budget, rule=rule, **how)


def test_where_the_budget_is_loose_the_rule_decides_how_strongly_and_the_effect_where():
    found = selected()
    assert found.status == "chosen"
    assert (found.best.site, found.best.coefficient) == (Site(1), 0.8)
    assert found.best.effect == pytest.approx(3.0 * 0.8, rel=0.02)
    assert found.best.costs["kl"] == pytest.approx(4.0 * 0.8**2)


def test_where_the_budget_binds_it_is_kept_and_nearly_spent():
    found = selected(budget="kl=0.1")
    # At a divergence of 0.1, site 2 does 2 x 0.316 and site 1 no more than 3 x 0.158.
    assert found.best.site == Site(2)
    for each in found.considered:
        assert SPENT * 0.1 <= each.costs["kl"] <= 0.1
    assert found.best.effect == pytest.approx(2.0 * abs(found.best.coefficient), rel=0.02)


def test_places_take_their_steps_together_and_come_out_as_each_alone(monkeypatch):
    widths: list[int] = []
    measure = PlantedTask.measure

    def counted(self, engine, start, stop, settings):
        widths.append(len(settings))
        return measure(self, engine, start, stop, settings)

    monkeypatch.setattr(PlantedTask, "measure", counted)
    together = selected(budget="kl=0.1", confirm=False)
    # The effect at all four places in one call, the unsteered model with them.
    assert widths == [5]
    alone = [selected(budget="kl=0.1", confirm=False, sites=[layer]).considered[0] for layer in range(4)]
    assert [each.plain() for each in together.considered] == [each.plain() for each in alone]


def test_a_place_without_gain_is_dropped_and_says_so():
    (last,) = [each for each in selected().considered if each.site == Site(3)]
    assert "no gain at 0.8" in last.dropped[0]


def test_the_other_sign_gains_where_the_first_loses():
    found = selected(sign=-1)
    assert found.best.site == Site(3)
    assert found.best.coefficient == -0.8
    assert [own.sign for own in found.ranges] == [-1] * 4
    assert {own.site: own.recommended for own in found.ranges} == {
        Site(3): 0.8,
        Site(0): None,
        Site(1): None,
        Site(2): None,
    }


def test_what_should_fall_is_an_effect_where_it_falls():
    assert selected(scale=-1.0).best.site == Site(3)


@pytest.mark.parametrize(
    ("how", "words"),
    [({"budget": "kl=0"}, "above 0 nats per token"), ({"rule": UpTo(0)}, "never coherent: up to: it never is")],
)
def test_nothing_within_budget_is_an_answer_in_words(how, words):
    found = selected(**how)
    assert found.status == "nothing within budget"
    assert found.chosen is None
    assert found.reason.startswith("nothing to recommend within kl at most")
    assert words in found.reason
    assert found.points == ()
    assert all(own.recommended is None for own in found.ranges)
    with pytest.raises(InputError, match="expected a choice, got none: nothing to recommend"):
        _ = found.best
    json.dumps(found.plain(), allow_nan=False)


def test_a_measure_that_no_item_has_is_no_gain_and_no_free_cost(monkeypatch):
    def nothing(self, engine, start, stop, settings):
        return [[Outcome(item.id, {}) for item in self.items[start:stop]] for _ in settings]

    monkeypatch.setattr(PlantedTask, "measure", nothing)
    found = selected()
    assert found.status == "nothing within budget"
    assert "nothing was written at 0.8 that planted effect could be measured of" in found.reason
    json.dumps(found.plain(), allow_nan=False)


def test_test_items_are_read_only_after_the_choice():
    log: list[str] = []
    selected(log=log)
    kinds = ["confirm" if item.startswith("confirm") else "choose" for item in log]
    assert kinds == sorted(kinds)
    # Unsteered, three strengths and a random vector: 5 settings of 6 items.
    assert kinds.count("confirm") == 5 * 6


def test_effect_and_cost_stand_beside_each_other_at_half_and_at_one_and_a_half():
    found = selected()
    assert [point.label for point in found.points] == ["0.5x", "1x", "1.5x", "random direction, 1x"]
    assert [point.coefficient for point in found.points] == pytest.approx([0.4, 0.8, 1.2, 0.8])
    for point in found.points[:3]:
        assert point.effect.n == 6
        assert point.effect.low <= point.effect.value <= point.effect.high
        assert point.effect.value == pytest.approx(3.0 * point.coefficient, rel=0.02)
        assert point.costs["kl"].value == pytest.approx(4.0 * point.coefficient**2)
    assert found.points[3].effect.value < 0.2 * found.points[1].effect.value
    assert "(confirmed)" in found.reason
    assert "resid_post.1" in found.reason


def test_a_point_beyond_the_budget_on_the_test_items_says_so():
    found = selected(budget="kl=3")
    broken = {point.label: point.broken for point in found.points}
    assert broken["1x"] == ()
    assert broken["1.5x"] == ("kl 5.76 above 3 nats per token",)


def test_edits_are_tried_beside_each_other_and_fractions_stay_fractions():
    found = selected(edits=[Add(), Ablate()], sites=[1], rule=UpTo(1.0))
    assert [(each.edit, each.coefficient) for each in found.considered] == [("add", 1.0), ("ablate", 1.0)]
    assert len({own.key for own in found.ranges}) == 2
    alone = selected(edits=[Ablate()], sites=[1], rule=UpTo(1.0))
    assert [point.label for point in alone.points] == ["0.5x", "1x", "random direction, 1x"]


def test_an_ablation_answers_the_negative_sign_with_a_positive_fraction():
    found = selected(edits=[Add(), Ablate()], sites=[1], rule=UpTo(1.0), sign=-1, scale=-1.0)
    assert [(each.edit, each.coefficient) for each in found.considered] == [("add", -1.0), ("ablate", 1.0)]
    assert sorted((own.edit, own.sign) for own in found.ranges) == [("ablate", 1), ("add", -1)]


def test_a_target_that_the_budget_limits_is_refused_before_anything_is_read():
    log: list[str] = []
    parts = [PlantedTask(prompts(name, 6), name="drift", log=log) for name in ("choose", "confirm")]
    with pytest.raises(InputError, match="expected a target that the budget does not limit, got the task 'drift'"):
        selected(target=Objective(Measure("drift", "effect", *parts), "points"))
    assert log == []


def test_a_cost_that_no_test_item_has_breaks_its_limit_and_an_effect_that_none_has_is_not_confirmed(monkeypatch):
    monkeypatch.setattr(selecting, "_difference", lambda *_: Estimate(0.0, 0.0, 0.0, 0))
    found = selected()
    assert all(len(point.broken) == 1 for point in found.points)
    assert "not confirmed: nothing was written" in found.reason
    json.dumps(found.plain(), allow_nan=False)


def test_an_effect_that_turns_round_on_the_test_items_is_refuted(monkeypatch):
    monkeypatch.setattr(selecting, "_difference", lambda *_: Estimate(-2.0, -3.0, -1.0, 6))
    assert "(refuted: it loses)" in selected().reason


def test_ranges_go_with_the_direction_and_the_whole_is_plain_data():
    found = selected()
    held = HELD.with_ranges(*found.ranges)
    assert held.range_for(Site(1), 1).recommended == 0.8
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["site"] == "resid_post.1"
    assert len(plain["points"]) == 4
    assert len(plain["considered"]) == 4


def test_progress_ends_where_it_said_it_would():
    heard: dict[str, list[tuple[int, int]]] = {}
    selected(notify=lambda stage, done, total: heard.setdefault(stage, []).append((done, total)))
    assert list(heard) == ["sites", "confirm"]
    assert all(steps[0][0] == 0 and steps[-1][0] == steps[-1][1] for steps in heard.values())


def test_sites_are_spread_over_the_middle_of_the_depth():
    deep = direction(1, range(30), depth=30)
    layers = [site.layer for site in candidates_of(deep).sites]
    assert layers == [7, 10, 13, 16, 19, 22]
    assert candidates_of(direction(1, [0], depth=30)).sites == [Site(0)]
    assert candidates_of(deep, [3, -1]).sites == [Site(3), Site(29)]


def test_no_edit_is_no_selection():
    with pytest.raises(InputError, match="at least one edit"):
        selected(edits=[])


def test_a_tasks_items_are_halved_between_choosing_and_confirming():
    task = FluencyTask([Passage(f"t{i}", "text") for i in range(9)])
    aim = objective_of(task, better="lower", seed=3)
    first, second = ({item.id for item in part.items} for part in (aim.measure.validation, aim.measure.test))
    assert not first & second
    assert first | second == {f"t{i}" for i in range(9)}
    assert aim.measure.scale == -1
    assert objective_of(task, sign=-1, seed=3) == aim
    assert {item.id for item in objective_of(task, seed=4).measure.test.items} != second
    assert len(objective_of(task, limit=2).measure.test.items) == 2


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: objective_of(FluencyTask([Passage("t", "x")] * 3)), "at least 4 items of fluency"),
        (lambda: objective_of(FluencyTask([Passage("t", "x")] * 4), "speed"), r"metric of fluency \(cross_entropy\)"),
        (lambda: objective_named("joy", HELD), "expected a target among expression, contrast"),
        (lambda: objective_named("contrast", HELD), "a concept in words for the target contrast"),
    ],
)
def test_what_is_no_objective_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_named_objectives_choose_and_confirm_on_different_items(name):
    measure = objective_named(name, HELD, concept="geese").measure
    first, second = ({repr(item) for item in part.items} for part in (measure.validation, measure.test))
    assert first
    assert second
    assert not {item.split("prompt=")[-1] for item in first} & {item.split("prompt=")[-1] for item in second}
    assert measure.metric in {metric.name for metric in measure.validation.metrics}
    # A concept is named for the sign at hand, whatever it is.
    assert objective_named(name, HELD, concept="geese", sign=-1).measure.scale == (1 if name == "contrast" else -1)


def test_every_cost_of_a_budget_is_measured_on_different_items():
    limits = Budget(dict.fromkeys(KNOWN, 1.0))
    costs = cost_measures(limits, 3)
    assert [each.name for each in costs] == list(limits.limits)
    for each in costs:
        assert each.metric in {metric.name for metric in each.validation.metrics}
        assert len(each.validation.items) == len(each.test.items) == 3
        assert not {item.id for item in each.validation.items} & {item.id for item in each.test.items}


def test_expression_reads_what_was_written_along_the_direction():
    model = tiny_model("llama", chat=True)
    task = ExpressionTask(prompts("p", 3), HELD, concept="geese")
    found = task.measure(model, 0, 3, [selecting.Setting("unsteered")])[0]
    assert {"projection", "contrast", "completion_logprob"} <= set(found[0].metrics)
    other = ExpressionTask(prompts("p", 3), direction(2, [1]), concept="geese")
    assert task.settings_key() != other.settings_key()
    with pytest.raises(InputError, match="a loaded model to read projections with, got FakeEngine"):
        task.measure(FakeEngine(), 0, 3, [selecting.Setting("unsteered")])


def test_a_tiny_model_is_selected_for_from_end_to_end():
    model = tiny_model("llama", chat=True)
    task = RefusalOddsTask(prompts("p", 8))
    found = select(model, HELD, budget="kl=50,cross-entropy=50", target=task, sites=[1, 2], rule=UpTo(0.5), limit=2)
    assert len(found.considered) == 2
    assert all(set(each.costs) == {"kl", "cross-entropy"} for each in found.considered)
    json.dumps(found.plain(), allow_nan=False)


def test_a_cost_that_grows_more_slowly_than_thought_is_still_brought_within_the_budget():
    # A KL is thought to grow with the square; this one grows in proportion, so that every guess is above the limit.
    parts = [PlantedTask(prompts(name, 6), name="own") for name in ("costly", "costly test")]
    found = selected(budget="kl=0.1", costs=[Measure("kl", "effect", *parts)], sites=[1])
    assert found.status == "chosen"
    assert 0.05 < found.best.costs["kl"] <= 0.1


def test_nothing_lost_is_no_negative_nothing():
    parts = [PlantedTask(prompts(name, 6), name="own") for name in ("costly", "costly test")]
    for confirm in (False, True):
        lost = Measure("knowledge", "nothing", *parts, -100.0)
        found = selected(budget="knowledge=2", costs=[lost], confirm=confirm)
        assert [str(each.costs["knowledge"]) for each in found.considered] == ["0.0"] * 4
        assert {str(end) for p in found.points for end in vars(p.costs["knowledge"]).values()} <= {"0.0", "6"}
        assert "-0 " not in found.reason


def test_a_rule_may_recommend_what_lies_behind_its_alarm_and_the_range_ends_there():
    found = selected(rule=UpTo(0.8, alarm=0.5), sites=[1])
    assert found.best.coefficient == 0.8
    assert [(own.recommended, own.alarm) for own in found.ranges] == [(0.5, 0.5)]


def test_test_items_can_be_left_alone_and_the_reason_speaks_of_the_others():
    log: list[str] = []
    found = selected(log=log, confirm=False)
    assert (found.status, found.best.site, found.points, found.report) == ("chosen", Site(1), (), None)
    assert not any(item.startswith("confirm") for item in log)
    assert "test items" not in found.reason
    assert found.reason.startswith("add 0.8 norm at resid_post.1: the largest effect on planted effect (points)")
    assert "at kl 2.56 nats per token, within kl at most 100 nats per token" in found.reason


def test_a_store_is_asked_first_and_nothing_is_computed_twice():
    store: dict[str, Outcome] = {}
    first, second = [], []
    one = selected(log=first, store=store)
    model = Planted()
    two = select(
        model, HELD, budget="kl=100", rule=UpTo(0.8), sites=[0, 1, 2, 3], limit=3, target=planted_objective(second),
        store=store,
    )  # fmt: skip
    assert one.plain() == two.plain()
    assert first
    assert second == []
    searches = [key for key in store if key.startswith("search:")]
    assert searches
    assert all("trials" in store[key].details for key in searches)


def test_a_cost_can_be_measured_on_items_of_ones_own():
    log: list[str] = []
    parts = [PlantedTask(prompts(name, 6), name="own", log=log) for name in ("costly", "costly test")]
    found = selected(budget="cross-entropy=1.5", costs=[Measure("cross-entropy", "effect", *parts)])
    # Cost and effect are the same there: what spends 1.5 gains 1.5.
    assert found.best.effect == pytest.approx(found.best.costs["cross-entropy"])
    assert SPENT * 1.5 <= found.best.costs["cross-entropy"] <= 1.5
    assert log
    with pytest.raises(InputError, match=r"a measure of each cost in the budget \(kl\), got over-refusal"):
        selected(costs=[Measure("over-refusal", "effect", *parts)])
