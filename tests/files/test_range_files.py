"""Ranges in files: exact, checked, without a trace where there are none, and no hindrance to an older reader."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from steersman.edits import Clamp
from steersman.errors import FileError
from steersman.exchange.card import Guidance, card
from steersman.exchange.gguf import export_gguf, import_gguf
from steersman.files import load_direction, load_plan, range_of, save_direction, save_plan
from steersman.files.container import sealed
from steersman.files.directions import KIND
from steersman.maths.geometry import length
from steersman.plan import Plan
from steersman.range import Range
from steersman.where import POINTS, Site
from tiny import direction, tiny_model

SITE = Site(1)
UP = Range(SITE, 1, tried=2.0, recommended=0.31, onset=0.1, alarm=0.52, reason="it broke at 0.52 [\N{SNOWMAN}] <b>")
DOWN = Range(SITE, -1, tried=1.5, unit="raw", span="first(3)", edit="clamp(value=0.2, side=both)")
JOINT = replace(UP, site=Site(2), beside=(SITE,))


def held(*ranges, layers=(1, 2)):
    return direction(1, layers).with_ranges(*ranges)


def header_of(path: Path) -> dict[str, object]:
    raw = path.read_bytes()
    outer = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return json.loads(outer["__metadata__"]["steersman"])


def rewritten(path: Path, **changes: object) -> Path:
    """Write a direction's file again with other fields, whole and with its right sum: what a hostile writer can do."""
    fields = {
        key: value for key, value in header_of(path).items() if key not in ("kind", "format", "version", "sha256")
    }
    path.write_bytes(sealed(KIND, fields | changes, load_file(path)))
    return path


sites = st.builds(Site, st.integers(0, 3), st.sampled_from([point for point in POINTS if point != "head"]))
numbers = st.floats(1e-60, 1e60)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


# Made here and not by a strategy, since beartype, which checks a range, draws from the global generator.
@given(
    sites,
    st.sampled_from([1, -1]),
    st.lists(numbers, min_size=3, max_size=3).map(sorted),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.tuples(
        st.sampled_from(["norm", "raw"]),
        st.sampled_from(["add", "ablate", "clamp(value=0.2, side=both)"]),
        st.sampled_from(["all", "prompt", "first(3)-bos"]),
        texts,
    ),
)
def test_a_record_makes_the_range_again(site, sign, sizes, known, words):
    gentle, alarm, tried = sizes
    one = Range(
        site,
        sign,
        tried,
        gentle if known[0] else None,
        gentle if known[1] else None,
        alarm if known[2] else None,
        *words,
    )
    assert range_of(json.loads(json.dumps(one.plain()))) == one


def test_save_and_load_keep_the_ranges_and_their_order(tmp_path):
    whole = held(JOINT, UP, DOWN)
    back = load_direction(save_direction(whole, tmp_path / "d.safetensors"))
    assert back.ranges == whole.ranges == (JOINT, UP, DOWN)
    again = save_direction(back, tmp_path / "again.safetensors")
    assert again.read_bytes() == (tmp_path / "d.safetensors").read_bytes()


def test_a_file_without_ranges_says_nothing_of_them(tmp_path):
    file = save_direction(held(), tmp_path / "d.safetensors")
    assert "ranges" not in header_of(file)
    assert load_direction(file).ranges == ()
    assert load_direction(rewritten(file, ranges=[])).ranges == ()


def test_ranges_came_without_a_new_format_and_beside_what_older_readers_ask_for(tmp_path):
    plain, known = (
        header_of(save_direction(each, tmp_path / name))
        for each, name in ((held(), "a.safetensors"), (held(UP), "b.safetensors"))
    )
    assert plain["format"] == known["format"] == 2
    assert set(known) - set(plain) == {"ranges"}
    assert {key: known[key] for key in plain if key != "sha256"} == {k: v for k, v in plain.items() if k != "sha256"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([UP.plain() | {"alarm": -1.0}], "positive number as a range's alarm, got -1.0"),
        ([UP.plain() | {"tried": 1e300}], "positive number as a range's tried, got 1e+300"),
        ([UP.plain() | {"tried": None}], "a wrong field ('tried' is NoneType)"),
        ([UP.plain() | {"recommended": "0.3"}], "a wrong field ('recommended' is str)"),
        ([UP.plain() | {"recommended": True}], "a wrong field ('recommended' is bool)"),
        ([UP.plain() | {"recommended": 0.6}], "recommended up to its limit, 0.52, got 0.6"),
        ([UP.plain() | {"site": "resid_post.3"}], "ranges at the direction's sites, got one at resid_post.3"),
        ([UP.plain() | {"site": "resid_post.01"}], "expected the site resid_post.1"),
        ([UP.plain() | {"site": "nowhere"}], "expected a site such as 'resid_post.14' or 'head.14.3', got 'nowhere'"),
        ([UP.plain() | {"beside": ["nowhere"]}], "expected a site such as 'resid_post.14' or 'head.14.3'"),
        ([UP.plain() | {"beside": [1]}], "a wrong field (a site is int)"),
        ([UP.plain() | {"sign": 2}], "expected the sign 1 or -1 of a range, got 2"),
        ([UP.plain() | {"unit": "metres"}], "unit among norm, raw, got 'metres'"),
        ([UP.plain() | {"span": "some"}], "expected a span among"),
        ([UP.plain() | {"gate": "x"}], "got 'gate' as well"),
        ([{"site": "resid_post.1"}], "got one without"),
        ([UP.plain(), UP.plain()], "one range of a kind at resid_post.1, got two of sign 1"),
        (["0.3"], "a range is str"),
        ({}, "'ranges' is dict"),
        (None, "'ranges' is NoneType"),
    ],
)
def test_a_file_with_ranges_that_are_none_is_one_clear_sentence(tmp_path, records, message):
    file = rewritten(save_direction(held(UP), tmp_path / "d.safetensors"), ranges=records)
    with pytest.raises(FileError, match=re.escape(message)) as caught:
        load_direction(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


# Plans.


def test_a_plan_file_keeps_what_is_known_of_its_steps(tmp_path):
    clamped = replace(DOWN, span="all", sign=1)
    plan = Plan(held(UP, clamped), coefficient=0.2) + Plan(held(clamped).at(1), Clamp(0.2), unit="raw")
    assert [len(step.ranges) for step in plan] == [1, 0, 1]
    back = load_plan(save_plan(plan, tmp_path / "p.safetensors"))
    assert [step.ranges for step in back] == [step.ranges for step in plan]
    assert back == plan
    assert back.scaled(4.0).beyond() == plan.scaled(4.0).beyond() != []


def test_a_plan_file_without_ranges_says_nothing_of_them(tmp_path):
    assert "ranges" not in header_of(save_plan(Plan(held()), tmp_path / "p.safetensors"))


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "a list of ranges for each of 1 steps, got 0"),
        ([[replace(UP, site=Site(2)).plain()]], "of what the step at resid_post.1 does"),
        ([[UP.converted(1.0, 2.0).plain()]], "of what the step at resid_post.1 does"),
        ([[UP.plain(), UP.plain()]], "at most one range of each sign"),
        ([UP.plain()], "'ranges' is dict"),
    ],
)
def test_a_plan_file_whose_ranges_are_not_of_its_steps_is_refused(tmp_path, lists, message):
    file = save_plan(Plan(held(UP).at(1)), tmp_path / "p.safetensors")
    fields = {"steps": header_of(file)["steps"], "ranges": lists}
    file.write_bytes(sealed("steersman plan", fields, load_file(file)))
    with pytest.raises(FileError, match=re.escape(message)):
        load_plan(file)


# GGUF and the card.


@pytest.mark.parametrize("coefficient", [0.25, -0.25])
@pytest.mark.parametrize("unit", ["norm", "raw"])
def test_a_control_vector_keeps_ranges_as_multiples_of_what_it_adds(tmp_path, coefficient, unit):
    whole = held(UP, replace(DOWN, edit="add", span="all")).at(1)
    export_gguf(whole, tmp_path / "v.gguf", coefficient=coefficient, unit=unit)
    back = import_gguf(tmp_path / "v.gguf")
    assert {each.unit for each in back.ranges} == {"raw"}
    added = length(Plan(whole, coefficient=coefficient, unit=unit).steps[0].vector) * abs(coefficient)
    sign = 1 if coefficient > 0 else -1
    limits = {each.sign: each.limit for each in back.ranges}
    # Both limits as lengths in the stream: 0.52 norms up, 1.5 vectors down.
    assert limits[sign] * added == pytest.approx(0.52 * whole.norms[SITE], rel=1e-6)
    assert limits[-sign] * added == pytest.approx(1.5 * length(whole.vectors[SITE]), rel=1e-6)
    signed = sign * limits[sign]
    steered = Plan(back, coefficient=signed * 1.01, unit="raw")
    assert torch.allclose(steered.steps[0].vector * signed, whole.units(SITE) * whole.norms[SITE] * 0.52, rtol=1e-5)
    assert len(steered.beyond()) == 1


def test_a_control_vector_for_another_model_brings_no_ranges(tmp_path):
    whole = held(UP).at(1)
    export_gguf(whole, tmp_path / "v.gguf", coefficient=0.25)
    model = tiny_model("llama")
    assert import_gguf(tmp_path / "v.gguf", model).ranges != ()
    export_gguf(replace(whole, origin=replace(whole.origin, revision="1" * 64)), tmp_path / "w.gguf", coefficient=0.25)
    assert import_gguf(tmp_path / "w.gguf", model).ranges == ()


def test_damaged_ranges_in_a_control_vector_are_one_sentence(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Range, "plain", lambda self: {"site": "nowhere"})
        export_gguf(held(UP).at(1), tmp_path / "v.gguf", coefficient=0.25)
    with pytest.raises(FileError, match="expected ranges as steersman writes them, got others"):
        import_gguf(tmp_path / "v.gguf")


def test_the_card_shows_the_ranges_and_uses_the_recommendation():
    text = card(held(UP, DOWN), "owner/fox", "direction.safetensors")
    assert "| resid\\_post.1 | norm | add | all | 0.1 | 0.31 | 0.52 | 2 |" in text
    assert "| resid\\_post.1 | raw | clamp(value=0.2, side=both) | first(3) | - | - | - | -1.5 |" in text
    assert 'direction.at(1), coefficient=0.31, unit="norm"' in text
    assert "it broke at 0.52 \\[\N{SNOWMAN}\\] \\<b\\>" in text
    own = card(held(UP), "owner/fox", "direction.safetensors", guidance=Guidance(2, 0.2))
    assert 'direction.at(2), coefficient=0.2, unit="norm"' in own
    assert "onset" not in card(held(), "owner/fox", "direction.safetensors")
