"""The search of a coefficient: how many completions, how near to the alarm, and what is said where none rings."""

import json
import re
from dataclasses import dataclass, field, replace

import pytest
import torch

from fakes import FakeEngine
from steersman.edits import Ablate, Add
from steersman.errors import InputError
from steersman.methods import MeanDifference
from steersman.model.generate import Sampling
from steersman.model.load import load
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.prompts import pairs as named_pairs
from steersman.recording import record
from steersman.selection import coefficient
from steersman.selection.coefficient import LARGEST, choose_coefficient, reach_of
from steersman.selection.curve import Curve, Pick, Trial
from steersman.selection.mark import Mark
from steersman.selection.projection import PROJECTION, read_projections, rising, shifts, spread
from steersman.selection.rules import Coherent, Product
from steersman.where import Site
from tiny import direction, tiny_model

ONE = direction(1, [1])
PROMPTS = ("Say something.", "Go on.")


def coefficient_in(text: str) -> float:
    return float(re.findall(r"-?[\d.]+(?:e-?\d+)?", text)[-1])


def falling(prompt, completion, plan, system) -> tuple[float, ...]:
    """Return the log-probability of a text that says how strongly it was steered: the less, the more strongly."""
    del prompt, system
    own = sum(abs(step.coefficient) for step in plan)
    return (-1.0 - abs(coefficient_in(completion)) - own, -1.0 - abs(coefficient_in(completion)) - own)


@dataclass
class Voice(FakeEngine):
    """Says how strongly it is steered."""

    batches: list[int] = field(default_factory=list)

    def complete(self, prompts, plans, sampling, system=None, *, chat=True):
        self.batches.append(len(prompts))
        return super().complete(prompts, plans, sampling, system, chat=chat)

    def _say(self, prompt, plan, system) -> str:
        return f"so strongly: {sum(step.coefficient for step in plan) / max(1, len(plan))!r}"


@dataclass(frozen=True)
class Falls:
    """Rings where the log-probability has fallen by so much; takes a share of the alarm, or the trial before it."""

    by: float
    share: float | None = None
    name: str = "falls"
    signals: tuple[str, ...] = ("logprob",)

    def pick(self, curve: Curve) -> Pick:
        values, sizes = curve.values("logprob"), curve.coefficients
        tried = sizes[-1]
        rung = next((i for i in range(1, len(sizes)) if values[i] < values[0] - self.by), None)
        if rung is None:
            return Pick("no alarm", tried, None, None, tried, "never fell")
        if self.share:
            return Pick("found", self.share * sizes[rung], None, sizes[rung], tried, "fell")
        if rung == 1:
            return Pick("never coherent", None, None, sizes[1], tried, "fell at once")
        return Pick("found", sizes[rung - 1], None, sizes[rung], tried, "fell")


def search(rule, engine=None, **how):
    return choose_coefficient(engine or Voice(rate=falling), ONE, how.pop("prompts", PROMPTS), rule=rule, **how)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_more_completions_than_allowed_and_one_batch_a_round(count):
    engine = Voice(rate=falling)
    heard: list[int] = []
    choice = search(Falls(0.4), engine, prompts=[f"prompt {i}" for i in range(count)], notify=heard.append)
    assert sum(engine.batches) == choice.completions == sum(heard) <= 25
    assert len(engine.batches) == choice.rounds == len(heard) <= 7
    assert choice.completions == count * len(choice.curve.trials)
    assert choice.curve.coefficients[0] == 0


@pytest.mark.parametrize("threshold", [0.02, 0.07, 0.15, 0.33, 0.5, 0.81, 1.3, 1.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_alarm_is_closed_in_on_from_below(threshold, sign):
    choice = search(Falls(threshold), sign=sign)
    assert choice.pick.alarm is not None
    assert threshold < abs(choice.pick.alarm) <= 1.3 * threshold
    assert choice.recommended is not None
    assert threshold / 1.3 <= abs(choice.recommended) <= threshold
    assert choice.recommended * sign > 0
    (own,) = choice.ranges
    assert (own.sign, own.site, own.alarm) == (sign, Site(1), abs(choice.pick.alarm))
    assert own.recommended == abs(choice.recommended)


def test_the_other_sign_is_the_same_search_mirrored():
    there, back = (search(Falls(0.3), sign=sign) for sign in (1, -1))
    assert [-value for value in there.curve.coefficients] == list(back.curve.coefficients)


def test_the_same_search_twice_is_the_same():
    assert search(Falls(0.3)).plain() == search(Falls(0.3)).plain()


def test_a_search_with_a_memory_completes_nothing_twice_and_one_cut_short_goes_on():
    plain, memory = search(Falls(0.3)).plain(), {}
    assert search(Falls(0.3), memory=memory).plain() == plain
    # As a file would give it back.
    held = json.loads(json.dumps(memory))
    again = Voice(rate=falling)
    assert search(Falls(0.3), again, memory=held).plain() == plain
    assert again.batches == []
    for count in range(len(held)):
        begun = Voice(rate=falling)
        assert search(Falls(0.3), begun, memory=dict(list(held.items())[:count])).plain() == plain
        assert len(begun.batches) == len(held) - count


@pytest.mark.parametrize(
    "other",
    [{"sign": -1}, {"prompts": ("Say nothing.", "Go on.")}, {"chat": False}, {"sampling": Sampling(max_new_tokens=3)}],
)
def test_another_search_finds_nothing_in_the_memory_of_the_first(other):
    memory = {}
    search(Falls(0.3), memory=memory)
    engine = Voice(rate=falling)
    search(Falls(0.3), engine, memory=memory, **other)
    assert len(engine.batches) >= 2


def test_a_longer_vector_is_another_unit_of_the_projection_and_finds_nothing_in_the_memory_of_a_shorter_one():
    """In norm units both steer alike; what is read off the text differs by their lengths."""
    model, memory = tiny_model("llama", chat=True), {}
    longer = replace(ONE, vectors={site: 4 * vector for site, vector in ONE.vectors.items()})
    for held in (ONE, longer):
        kept = choose_coefficient(model, held, ["Hi", "Why?"], most=10, memory=memory)
        assert kept.plain() == choose_coefficient(model, held, ["Hi", "Why?"], most=10).plain()


def test_no_alarm_is_said_and_no_number_is_made_up():
    choice = search(Falls(9.0))
    assert choice.pick.status == "no alarm"
    assert choice.pick.alarm is None
    assert choice.pick.tried == LARGEST
    assert "no alarm found up to 2 norm, the largest that is sensible" in choice.reason
    (own,) = choice.ranges
    assert own.alarm is None
    assert own.tried == LARGEST


def test_a_search_that_ran_out_of_completions_says_so():
    choice = search(Falls(9.0), prompts=["one", "two", "three"], most=15)
    assert choice.pick.tried < LARGEST
    assert "as far as the completions went" in choice.reason


def test_a_recommendation_between_trials_is_tried_itself():
    choice = search(Falls(0.3, share=0.6))
    assert choice.shown is not None
    assert choice.shown.coefficient == pytest.approx(choice.recommended, rel=0.06)
    assert choice.completions <= 25


def test_what_is_never_coherent_is_searched_downwards_and_recommends_nothing():
    choice = search(Falls(0.0001))
    assert choice.pick.status == "never coherent"
    assert choice.recommended is None
    assert choice.shown is None
    assert min(abs(value) for value in choice.curve.coefficients[1:]) < 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_worn_from_the_first_coefficient_on_is_searched_below_it_however_late_it_breaks(sign):
    # Read as 8 of 10 at 0.05 and as 5 at 0.85: the first coefficients are no longer whole, and not yet broken.
    rule = Coherent("own", Mark(3.19, {"logprob": 1.845}), neighbours=0)
    choice = search(rule, sign=sign)
    assert 0.85 <= abs(choice.pick.alarm) <= 1.5 * 0.85
    assert 0.02 < sign * choice.recommended <= 0.05
    assert choice.completions <= 25


def test_in_raw_units_as_far_as_in_norms():
    choice = search(Falls(1e9), unit="raw")
    length = float(ONE.vectors[Site(1)].norm())
    assert choice.largest == pytest.approx(LARGEST * ONE.norms[Site(1)] / length, rel=0.01)
    assert choice.pick.tried == choice.largest


def test_fractions_end_at_the_whole_and_have_one_sign():
    choice = search(Falls(9.0), edit=Ablate())
    assert choice.largest == choice.pick.tried == 1
    with pytest.raises(InputError, match="expected sign 1 for 'ablate', which takes fractions from 0 to 1, got -1"):
        search(Falls(9.0), edit=Ablate(), sign=-1)


def test_broken_text_that_falls_back_leaves_the_coherent_trials_as_they_were():
    # The projection rises to 3 while the text is whole, and falls below 0 once it is broken.
    places = [0.0, 1.0, 2.0, 3.0, -2.0, -2.0, -2.0, -2.0]
    whole = {"low_logprob": -1.0, "repetition": 0.0}
    broken = {"low_logprob": -12.0, "repetition": 1.0}
    trials = [
        Trial(0.1 * i, ("",), (whole if i < 4 else broken) | {PROJECTION: place}) for i, place in enumerate(places)
    ]
    rule = Product("default", (PROJECTION,), neighbours=0)
    pick = coefficient._picked(rule, Curve(tuple(trials)), clear=1.5)
    assert pick.alarm == pytest.approx(0.4)
    assert pick.recommended == pytest.approx(0.3)
    assert pick.onset == pytest.approx(0.2)


def test_an_ablation_is_read_by_what_it_takes_away(monkeypatch):
    moved = iter([[1.0, 1.0], [0.0, 0.0]])
    monkeypatch.setattr(coefficient._Trying, "_places", lambda *_: [value for part in moved for value in part])
    trying = coefficient._Trying(
        Voice(rate=falling), ONE, PROMPTS, (PROJECTION,), Ablate(), "all", "norm", 1, Voice(), False, None,
        coefficient.SAMPLING, True, {},
    )  # fmt: skip
    trials, _ = trying.trials([0.0, 1.0], [])
    assert [trial.signals[PROJECTION] for trial in trials] == [0.0, 1.0]


def test_several_sites_begin_gentler_and_their_ranges_name_each_other():
    two = direction(1, [0, 2])
    choice = choose_coefficient(Voice(rate=falling), two, PROMPTS, rule=Falls(0.3))
    assert reach_of(two, Add(), "norm").first == reach_of(ONE, Add(), "norm").first / 2
    assert [(own.site, own.beside) for own in choice.ranges] == [(Site(0), (Site(2),)), (Site(2), (Site(0),))]
    assert two.with_ranges(*choice.ranges).ranges == choice.ranges


def test_a_steered_evaluator_reads_under_the_plan_that_wrote():
    plain, steered = search(Falls(9.0)), search(Falls(9.0), steered_evaluator=True)
    for one, other in zip(plain.curve.trials[1:], steered.curve.trials[1:], strict=False):
        if one.coefficient == other.coefficient:
            assert other.signals["logprob"] == pytest.approx(one.signals["logprob"] - one.coefficient)


def test_another_evaluator_reads_and_the_model_only_writes():
    writer, reader = Voice(rate=falling), Voice(rate=falling)
    search(Falls(0.3), writer, evaluator=reader)
    assert {entry[0] for entry in writer.log} == {"complete"}
    assert {entry[0] for entry in reader.log} == {"score"}


def test_everything_is_plain_data():
    plain = json.loads(json.dumps(search(Falls(0.3)).plain(), allow_nan=False))
    assert plain["sites"] == ["resid_post.1"]
    assert len(plain["curve"][0]["completions"]) == len(PROMPTS)
    assert plain["completions"] == sum(len(trial["completions"]) for trial in plain["curve"])


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"prompts": []}, "expected 1 to 5 prompts for 25 completions"),
        ({"prompts": list("abcdef")}, "expected 1 to 5 prompts for 25 completions .*, got 6"),
        ({"sign": 0}, "expected the sign 1 or -1, got 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(how, match):
    with pytest.raises(InputError, match=match):
        search(Falls(0.3), **how)


def test_a_real_model_is_read_for_the_onset():
    model = tiny_model("llama", chat=True)
    choice = choose_coefficient(model, ONE, ["Hi", "Why?"], rule=Falls(1e9))
    assert all("projection" in trial.signals for trial in choice.curve.trials)
    assert choice.curve.trials[0].signals["projection"] == 0
    clear = max(0.5, 2 * spread(model, ONE, "Hi"))
    smooth = rising(choice.curve.values("projection"))
    shown = [c for c, value in zip(choice.curve.coefficients, smooth, strict=True) if value >= clear]
    assert choice.pick.onset == (shown[0] if shown else None)
    assert ("onset at" if shown else "no onset: completions move") in choice.reason


@pytest.mark.parametrize("concept", [None, "geese"])
def test_the_default_rule_reads_the_projection_where_no_concept_is_named(concept):
    choice = choose_coefficient(tiny_model("llama", chat=True), ONE, ["Hi", "Why?"], concept=concept, most=10)
    assert ("concept" in choice.curve.trials[0].signals) == (concept is not None)
    # A model of random weights writes nothing of the kind, however it is steered: the projection says so. What the
    # concept's own signals see in it begins where they are halfway between nothing and their most.
    assert (choice.pick.status == "no onset") == ("no onset: completions move" in choice.reason) == (concept is None)
    assert (choice.pick.onset is None) == (concept is None)


@pytest.mark.parametrize(
    ("clear", "onset", "recommended", "status"),
    [(1.0, 0.2, 0.2, "found"), (3.0, 0.4, 0.4, "found"), (9.0, None, 0.2, "no onset")],
)
def test_nothing_is_recommended_before_the_onset(clear, onset, recommended, status):
    marks = [(0, 0), (-0.5, 0.9), (-1, 2.6), (-3, 3.0), (-9, 3.1), (-12, 3)]
    trials = tuple(
        Trial(0.1 * i, ("text",), {"low_logprob": low, "repetition": 0.0, PROJECTION: moved})
        for i, (low, moved) in enumerate(marks)
    )
    curve = Curve(
        (
            *trials[:3],
            replace(trials[3], coefficient=0.4),
            *(replace(t, coefficient=t.coefficient + 0.1) for t in trials[4:]),
        )
    )
    found = coefficient._picked(Product("own", (PROJECTION,), neighbours=0), curve, clear)
    assert (found.status, found.onset, found.recommended) == (status, onset, recommended)
    assert found.alarm == pytest.approx(0.5)
    assert ("taken in the place of 0.2" in found.reason) == (clear == 3.0)
    # What a rule recommends that does not look at the behaviour stays where it is.
    other = coefficient._picked(Coherent("other", neighbours=0), curve, clear)
    assert (other.onset, other.recommended) == (onset, 0.2)


def test_noise_is_averaged_out_of_what_can_only_rise():
    assert rising([0.0, 2.0, 1.0, 3.0]) == [0.0, 1.5, 1.5, 3.0]
    assert rising([1.0, 1.0]) == [1.0, 1.0]


def test_texts_of_the_two_classes_lie_one_class_separation_apart():
    """Fitted to pairs, the mean difference says of their own completions: 1 apart, on every site and on their mean."""
    model = tiny_model("llama", chat=True)
    pairs = [
        Pair(f"p{i}", Example(prompt, f" {letter}bc" * 3), Example(prompt, " xyz"))
        for i, (prompt, letter) in enumerate((("Hi", "a"), ("Why is it?", "b"), ("Go.", "c")))
    ]
    fitted = MeanDifference().fit(record(model, pairs, layers=[1, 2]))
    for held in (fitted, fitted.at(1)):
        places = [
            read_projections(
                model, held, [e.prompt for e in side], [e.completion for e in side]
            )
            for side in ([p.positive for p in pairs], [p.negative for p in pairs])
        ]  # fmt: skip
        moved = shifts(places[0], places[1])
        assert sum(moved) / len(moved) == pytest.approx(1, abs=1e-4)
        assert shifts(places[0], places[1], -1) == [-value for value in moved]


def test_a_projection_does_not_depend_on_its_neighbours_and_silence_has_none():
    model = tiny_model("llama", chat=True)
    prompts, texts = ["Hi", "Why is the sky blue?", "Go", "So"], [" there", " because of light", "", "  "]
    together = read_projections(model, ONE, prompts, texts)
    alone = [read_projections(model, ONE, [p], [t])[0] for p, t in zip(prompts, texts, strict=True)]
    assert together[2:] == alone[2:] == [None, None]
    assert torch.allclose(torch.tensor(together[:2]), torch.tensor(alone[:2]), atol=1e-5)
    assert shifts([None, 2.0], [1.0, None]) == [0.0, 1.0]
    assert read_projections(model, ONE, ["Hi"], [" "]) == [None]


def test_a_projection_needs_a_prompt_for_every_completion():
    with pytest.raises(InputError, match="one prompt per completion, got 1 for 2"):
        read_projections(tiny_model("llama"), ONE, ["Hi"], [" a", " b"])


def test_the_unsteered_trial_is_the_empty_plan():
    engine = Voice(rate=falling)
    search(Falls(0.3), engine)
    first = next(entry for entry in engine.log if entry[0] == "complete")
    assert first[2][: len(PROMPTS)] == (Plan().digest(),) * len(PROMPTS)


@pytest.mark.slow
def test_on_the_default_model_refusal_begins_before_coherence_ends():
    model = load(dtype="bfloat16")
    held = MeanDifference().fit(record(model, named_pairs("refusal"), layers=[14]))
    towards, away = (choose_coefficient(model, held, sign=sign) for sign in (1, -1))
    for choice in (towards, away):
        assert choice.completions <= 25
        assert choice.pick.alarm is not None
        assert choice.recommended is not None
        assert abs(choice.recommended) < abs(choice.pick.alarm) <= LARGEST
        (own,) = choice.ranges
        assert held.with_ranges(own).recommendation().coefficient == choice.recommended
    assert towards.pick.onset is not None
    assert 0 < towards.pick.onset <= towards.recommended
    # It hardly ever refuses by itself, so there is nothing to take away.
    assert away.pick.onset is None
    assert "no onset" in away.reason
    texts = " ".join(towards.shown.completions).lower()
    assert any(word in texts for word in ("sorry", "can't", "cannot", "unable", "not able"))
