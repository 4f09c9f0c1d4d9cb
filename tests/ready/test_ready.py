"""Ready directions: what is shipped, what fits which model, what a plan of one is."""

import re
from dataclasses import replace

import pytest

from steersman import ready
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.files import load_direction, save_direction
from steersman.objectives import objective_named
from steersman.plan import Plan
from steersman.prompts import content_hash
from steersman.range import Range
from steersman.ready.concepts import CONCEPTS
from steersman.ready.wording import Wording
from steersman.ready.wordings import CHEER, FORMALITY, IMAGERY, PERSON
from steersman.where import Site
from tiny import direction, tiny_model

WIDTH, DEPTH = 576, 30
"""Of the default model."""


def ranged(seed: int = 0, layers=(1, 2)) -> Direction:
    made = direction(seed, layers)
    up = Range(Site(2), 1, 2.0, 0.3, 0.1, 0.6, reason="made up")
    return made.with_ranges(up, replace(up, sign=-1, recommended=0.2))


def test_all_six_names_are_shipped_and_no_other():
    assert list(ready.shipped()) == ready.names()
    assert len(ready.names()) == 6


@pytest.mark.parametrize("name", ready.names())
def test_a_shipped_file_is_of_the_default_model_and_of_the_pairs_at_hand(name):
    path = ready.shipped()[name]
    held = load_direction(path)
    assert (held.origin.width, held.origin.depth) == (WIDTH, DEPTH)
    assert held.origin.model == "smollm2-135m-instruct"
    # What the file was fitted to is what the concept makes its pairs of today.
    assert held.origin.data == content_hash(CONCEPTS[name].pairs())
    assert held.origin.span == CONCEPTS[name].span
    assert path.stat().st_size < 40_000


@pytest.mark.parametrize("name", ready.names())
def test_a_shipped_direction_recommends_a_coefficient_within_its_range(name):
    own = ready.ready_of(name, load_direction(ready.shipped()[name]))
    slider = own.slider
    assert slider.known
    assert slider.low < 0 < own.start < slider.high
    assert own.range(1).recommended == own.start
    assert not own.plan().beyond()
    assert own.plan(1.5 * slider.high).beyond()
    assert own.up in own.title
    assert own.down in own.title


def test_a_direction_fits_its_own_weights_alone(llama):
    own = direction(1, [1])
    assert ready.fits(own, llama)
    other = replace(own, origin=replace(own.origin, revision="1" * 64))
    assert not ready.fits(other, llama)
    # A hand-made direction that does not say its weights fits by its shape.
    assert ready.fits(replace(own, origin=replace(own.origin, revision="")), llama)
    assert not ready.fits(direction(1, [1], width=16), llama)


def test_another_model_gets_none_and_a_sentence_that_says_how_to_make_them(llama):
    assert ready.load(llama) == []
    sentence = ready.unfit(llama)
    assert "steersman ready --make --model tiny-llama --out FOLDER" in sentence


def test_a_folder_of_files_is_loaded_by_name_known_ones_first(tmp_path, llama):
    for name in ("zebra", "formal", "cheerful"):
        save_direction(ranged(), tmp_path / f"{name}.safetensors")
    save_direction(direction(2, [0], width=16), tmp_path / "narrow.safetensors")
    found = ready.load(llama, tmp_path)
    assert [each.name for each in found] == ["cheerful", "formal", "zebra"]
    assert found[0].title == "more cheerful / gloomier"
    assert found[2].title == "zebra"
    assert {each.site for each in found} == {Site(2)}


def test_a_folder_that_is_none_is_an_error(llama, tmp_path):
    with pytest.raises(InputError, match="expected a folder of directions"):
        ready.load(llama, tmp_path / "nowhere")


def test_it_acts_where_its_file_recommends_and_elsewhere_when_told():
    own = ready.ready_of("x", ranged())
    assert own.site == Site(2)
    assert own.direction.sites == [Site(2)]
    assert own.at(1).site == Site(1)
    assert own.at(1).start == 0.0
    with pytest.raises(InputError, match=re.escape("expected a layer that the direction holds (1, 2), got 3")):
        own.at(3)
    # Nothing recommended: near 40 % of the depth of 4.
    assert ready.ready_of("x", direction(0, [0, 1, 3])).site == Site(1)


def test_its_plan_is_the_one_written_by_hand():
    own = ready.ready_of("x", ranged())
    assert own.plan(0.25) == Plan(ranged().at(2), coefficient=0.25)
    assert own.plan() == Plan(ranged().at(2), coefficient=0.3)
    assert own.plan(0.25, span="generated") == Plan(ranged().at(2), coefficient=0.25, span="generated")
    assert own.plan(0.0) == Plan()
    assert (own.slider.low, own.slider.high, own.start) == (-0.6, 0.6, 0.3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_coefficient_that_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="finite coefficient"):
        ready.ready_of("x", ranged()).plan(value)


def test_where_none_is_recommended_one_must_be_given():
    with pytest.raises(InputError, match="whose file recommends none"):
        ready.ready_of("x", direction(0, [1])).plan()


def test_wordings_count_different_marks_per_hundred_words():
    own = Wording("words", ("good", r"well\w*"), ("bad",))
    assert own.balance("good good good thing") == pytest.approx(25.0)
    assert own.balance("a good, well-meant but bad thing") == pytest.approx(100 / 6)
    assert own.balance("") == 0.0
    assert Wording("x", ("goods",)).balance("good") == 0.0


@pytest.mark.parametrize(
    ("wording", "more", "less"),
    [
        (CHEER, "What a wonderful day, I am so happy!", "Everything is bleak, and I am tired and alone."),
        (FORMALITY, "Furthermore, we shall provide assistance.", "Hey, I'm gonna grab some stuff, that's cool."),
        (IMAGERY, "Moonlight whispers over the golden sea.", "It weighs 12.5 kg, for example, or 40 percent."),
        (PERSON, "I told my friends about myself.", "The device measures the pressure of the gas."),
    ],
)
def test_each_wording_tells_its_two_kinds_apart(wording, more, less):
    assert wording.balance(more) > 0 >= wording.balance(less)
    assert wording.balance(more.replace("'", "’")) == wording.balance(more)


def test_a_repeated_word_is_no_stronger_effect():
    assert CHEER.balance("I'm so happy to " * 10) < CHEER.balance("I'm so happy to")


def test_make_refuses_a_name_that_is_none(llama):
    with pytest.raises(InputError, match="expected a ready direction among cheerful, formal"):
        ready.make(llama, "sulky")


def test_the_two_kinds_of_every_persona_are_read_in_the_same_words():
    for name in ("cheerful", "formal", "poetic", "personal"):
        pairs = CONCEPTS[name].pairs()
        assert len(pairs) == 96
        assert all(pair.positive.completion == pair.negative.completion for pair in pairs)
        assert all(pair.positive.prompt != pair.negative.prompt for pair in pairs)


def test_a_concept_chooses_and_confirms_on_prompts_that_have_nothing_in_common():
    for concept in CONCEPTS.values():
        own = direction(0, [1])
        measure = concept.aim(own, 1, None).measure
        chosen, confirmed = ({item.id for item in task.items} for task in (measure.validation, measure.test))
        assert chosen
        assert confirmed
        assert not chosen & confirmed
        assert concept.aim(own, -1, None).measure.scale == -measure.scale


def test_one_is_made_for_another_model_with_a_range_on_both_sides(monkeypatch, tmp_path):
    model = tiny_model("llama", chat=True)
    # A random model has no first person to count; along the direction itself its texts do move.
    moved = replace(
        CONCEPTS["personal"],
        aim=lambda held, sign, limit: objective_named("expression", held, sign=sign, limit=limit),
        pairs=lambda: CONCEPTS["formal"].pairs()[:6],
    )
    monkeypatch.setitem(CONCEPTS, "personal", moved)
    told: list[str] = []
    made = ready.make(model, "personal", budget="kl=50", limit=2, notify=lambda stage, *_: told.append(stage))
    assert {each.sign for each in made.direction.ranges} == {1, -1}
    assert made.range(1).recommended == made.start
    assert made.held.origin.n == 6
    assert (told[0], told[-1]) == ("personal: read", "personal: sites -")
    save_direction(made.held, tmp_path / "personal.safetensors")
    (found,) = ready.load(model, tmp_path)
    assert found.site == made.site
    assert found.plan() == made.plan()


def test_where_nothing_shows_none_is_made_and_the_reason_said(monkeypatch):
    model = tiny_model("llama", chat=True)
    few = CONCEPTS["refusal"].pairs()[:4]
    monkeypatch.setitem(CONCEPTS, "refusal", replace(CONCEPTS["refusal"], pairs=lambda: few))
    with pytest.raises(InputError, match="expected a place where refusal shows on tiny-llama, got none: nothing to"):
        ready.make(model, "refusal", budget="kl=0.00001", limit=2)
