"""Plan files: the same digest after the round trip, and a refusal for everything that is no plan."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from steersman.direction import Direction
from steersman.edits import EDITS, AddKeepingNorm, Clamp, Rotate
from steersman.errors import FileError, InputError
from steersman.files import load_direction, load_plan, save_direction, save_plan
from steersman.files.container import FORMAT, canonical, checksum
from steersman.gates import Gate
from steersman.plan import Plan
from steersman.where import Site
from tiny import direction, mixed_plans, origin, plan

numbers = st.floats(-1e6, 1e6)
edits = st.one_of(
    st.sampled_from([EDITS["add"](), EDITS["add_keeping_norm"](), EDITS["ablate"]()]),
    st.builds(Clamp, st.one_of(numbers, st.integers(-3, 3)), st.sampled_from(["both", "above", "below"])),
    st.builds(Rotate, numbers),
)
sites = st.one_of(
    st.builds(Site, st.integers(0, 39), st.sampled_from(["resid_pre", "attn_out", "mlp_out", "resid_post"])),
    st.builds(Site, st.integers(0, 39), st.just("head"), st.integers(0, 9)),
)
spans = st.sampled_from(["all", "all-bos", "prompt", "generated", "after_instruction", "last", "first(3)-bos"])


def vectors(width):
    row = st.lists(st.floats(-1e3, 1e3, width=32), min_size=width, max_size=width).map(torch.tensor)
    return row.filter(lambda vector: vector.norm() > 1e-3)


@st.composite
def steps(draw):
    """What a plan of one step is made of."""
    edit, site, width = draw(edits), draw(sites), draw(st.integers(2, 5))
    fraction = st.floats(0, 0.2) if edit.name in ("ablate", "clamp") else numbers
    vector, gated = draw(vectors(width)), draw(vectors(width))
    readings = st.tuples(st.one_of(numbers, st.integers(-2, 2)), st.sampled_from(["prompt", "token"]))
    more = st.tuples(st.sampled_from(["projection", "cosine", "probe"]), numbers, st.booleans())
    gate = (Site(0, "resid_pre"), gated, *draw(readings), *draw(more)) if draw(st.booleans()) else None
    how = {"span": draw(spans), "coefficient": draw(fraction), "unit": draw(st.sampled_from(["norm", "raw"]))}
    return site, vector, draw(st.floats(0.1, 1e3)), edit, gate, how


def made(site, vector, norm, edit, gate, how):
    """Return the plan; here and not in the strategy, since the type checker draws lots, which a strategy must not."""
    width = len(vector)
    # Along the axis where the first vector is smallest, so that the two are not parallel.
    other = torch.eye(width)[int(vector.abs().argmin())] - 0.1 * vector / vector.norm()
    one, two = (Direction({site: each}, {site: norm}, origin(40, width), "made up") for each in (vector, other))
    return Plan(one, edit, **how, second=two if edit.planar else None, gate=None if gate is None else Gate(*gate))


@settings(max_examples=200, deadline=None)
@given(st.lists(steps(), max_size=4))
def test_a_plan_comes_back_to_the_digest(tmp_path_factory, recipe):
    held = sum((made(*each) for each in recipe), Plan())
    path = tmp_path_factory.getbasetemp() / "law.safetensors"
    back = load_plan(save_plan(held, path, force=True))
    assert (back, len(back), back.digest()) == (held, len(held), held.digest())
    assert back.describe() == held.describe()
    assert [step.what for step in back] == [step.what for step in held]  # those of coefficient 0 as well


@pytest.mark.parametrize("index", range(5))
def test_plans_of_several_steps_come_back(tmp_path, index):
    held = mixed_plans()[index]
    assert load_plan(save_plan(held, tmp_path / "p.safetensors")) == held


def test_equal_plans_give_equal_files(tmp_path):
    one, two = (save_plan(mixed_plans()[1], tmp_path / f"{i}.safetensors") for i in range(2))
    assert one.read_bytes() == two.read_bytes()
    assert set(load_file(one)) == {"vector.0", "vector.1", "vector.2"}


def test_a_plan_spread_over_every_layer_is_saved(tmp_path):
    held = Plan(direction().everywhere(), EDITS["ablate"](), coefficient=1)  # all steps share one vector
    assert load_plan(save_plan(held, tmp_path / "p.safetensors")) == held


def test_a_plan_is_no_direction_and_the_other_way_round(tmp_path):
    one = save_plan(plan(), tmp_path / "p.safetensors")
    two = save_direction(direction(), tmp_path / "d.safetensors")
    with pytest.raises(FileError, match=r"p\.safetensors: expected a direction, got a steersman plan; .* load_plan"):
        load_direction(one)
    with pytest.raises(FileError, match=r"d\.safetensors: expected a plan, got a steersman direction; .* load_direct"):
        load_plan(two)


# What could not be loaded is not saved.


@dataclass(frozen=True)
class Own:
    """An edit of somebody's own."""

    name: str = "add"
    planar: bool = False

    def check(self, coefficient):
        """Take any."""

    def __call__(self, hidden, direction, coefficient, second=None):
        """Return what came."""
        return hidden


@pytest.mark.parametrize("edit", [Own(), Own("own")])
def test_an_edit_that_no_file_can_name_is_not_saved(tmp_path, edit):
    with pytest.raises(InputError, match="expected an edit that a file can name"):
        save_plan(Plan(direction(), edit), tmp_path / "p.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_coefficient_that_the_edit_cannot_take_is_not_saved(tmp_path):
    half = Plan(direction(), EDITS["ablate"](), coefficient=0.6)
    with pytest.raises(InputError, match=r"a fraction from 0 to 1 .* got 1\.2"):
        save_plan(half + half, tmp_path / "p.safetensors")


def test_nothing_is_overwritten_without_force(tmp_path):
    path = save_plan(plan(), tmp_path / "p.safetensors")
    with pytest.raises(FileError, match="exists already; give another name, or --force"):
        save_plan(Plan(), path)
    save_plan(Plan(), path, force=True)
    assert len(load_plan(path)) == 0
    with pytest.raises(FileError, match=r"ending in \.safetensors"):
        save_plan(Plan(), tmp_path / "p.json")


# What is no plan is refused in one sentence.

GATE = {"site": "resid_pre.1", "threshold": 0.5, "when": "prompt", "measure": "probe", "bias": 0, "below": False}


def step(**changes):
    """Return a step's record with a gate, changed."""
    record = {"site": "resid_post.1", "edit": "clamp", "settings": {"value": 1.0, "side": "both"}, "span": "all"}
    return record | {"coefficient": 0.5, "unit": "norm", "width": 4, "depth": 3, "gate": GATE} | changes


def tensors_of(*steps):
    """Return the vectors that the steps' records ask for."""
    held = {}
    for index, record in enumerate(steps):
        held[f"vector.{index}"] = torch.arange(1.0, 5)
        if record.get("edit") == "rotate":
            held[f"second.{index}"] = torch.ones(4)
        if record.get("gate") is not None:
            held[f"gate.{index}"] = torch.ones(4)
    return held


def write(path, steps, tensors=None):
    """Write a plan file with a right sum, whatever it says."""
    tensors = tensors_of(*steps) if tensors is None else tensors
    content = {"kind": "steersman plan", "format": FORMAT, "version": "0", "steps": steps}
    save_file(tensors, path, {"steersman": canonical(content | {"sha256": checksum(content, tensors)})})
    return path


def but(**changes):
    return step(gate=GATE | changes)


def less(record, name):
    return {key: value for key, value in record.items() if key != name}


def refused(path, match):
    with pytest.raises(FileError, match=match) as caught:
        load_plan(path)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)


def test_the_plain_records_are_taken(tmp_path):
    # What the refusals below change; without this they could all fail for another reason.
    turn = step(edit="rotate", settings={"degrees": 30}, gate=None)
    held = load_plan(write(tmp_path / "p.safetensors", [step(), turn]))
    assert [each.edit for each in held] == [Clamp(1.0), Rotate(30)]
    assert [each.gate is None for each in held] == [False, True]


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (step(site="resid_post.-1"), "expected a site such as"),
        (step(site="resid_post.01"), "expected the site resid_post.1, got"),
        (step(site="resid_post.99999999999999"), "expected a site such as"),
        (step(site="resid_post.3"), "expected a layer below 3, got resid_post.3"),
        (step(site=14), "'site' is int"),
        (step(edit="run"), "expected an edit among .*, got 'run'"),
        (step(edit=None), "'edit' is NoneType"),
        (step(settings={"value": 1.0}), "without 'side'"),
        (step(settings={"value": 1.0, "side": "both", "name": "x"}), "expected the fields side, value, got 'name'"),
        (step(settings={"value": "1", "side": "both"}), "'value' is str"),
        (step(settings={"value": True, "side": "both"}), "'value' is bool"),
        (step(settings={"value": 10**400, "side": "both"}), "too large"),
        (step(settings={"value": 1.0, "side": "left"}), "expected a side among"),
        (step(settings={"value": 1.0, "side": 1}), "'side' is int"),
        (step(settings=[]), "'settings' is list"),
        (step(edit="add"), "expected the fields none, got 'side' as well"),
        (step(span="first(999999999999999999999)"), r"expected first\(k\)|expected a span"),
        (step(span="first(0)"), r"expected first\(k\)"),
        (step(span="end"), "got 'end'"),
        (step(span="everything"), "expected a span among"),
        (step(span=None), "'span' is NoneType"),
        (step(coefficient=2), "expected a fraction from 0 to 1"),
        (step(coefficient="1"), "'coefficient' is str"),
        (step(coefficient=True), "'coefficient' is bool"),
        (step(coefficient=10**400), "too large"),
        (step(unit="metres"), "expected a unit among norm, raw"),
        (step(width=5), "expected width 5 at resid_post.1, got 4"),
        (step(width=0), "'width' of at least 1"),
        (step(width=4.0), "'width' is float"),
        (step(depth=-1), "'depth' of at least 1"),
        (step(gate=[]), "'gate' is list"),
        (step(more=1), "expected the fields .*, got 'more' as well"),
        (but(site="resid_post.2"), "a gate that reads no later"),
        (but(site="x"), "expected a site such as"),
        (but(threshold=None), "'threshold' is NoneType"),
        (but(threshold=10**400), "too large"),
        (but(when="never"), "expected a when among prompt, token"),
        (but(measure="guess"), "expected a measure among"),
        (but(below=0), "'below' is int"),
        (but(more=1), "expected the fields .*, got 'more' as well"),
        *((less(step(), name), f"without '{name}'") for name in step()),
        *((step(gate=less(GATE, name)), f"without '{name}'") for name in GATE),
    ],
)
def test_a_wrong_record_is_told(tmp_path, record, match):
    tensors = tensors_of(step())
    if "gate" in record and record["gate"] is None:
        del tensors["gate.0"]
    refused(write(tmp_path / "p.safetensors", [record], tensors), match)


NAN = torch.tensor([1.0, float("nan"), 1.0, 1.0])


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"vector.0": torch.ones(4)}, "expected the gate of every step that has one, got none"),
        ({"gate.0": torch.ones(4)}, "expected the vector of every step"),
        (tensors_of(step()) | {"vector.1": torch.ones(4)}, r"no vectors but those of the steps, got vector\.1"),
        (tensors_of(step()) | {"vector.00": torch.ones(4)}, r"no vectors but those of the steps, got vector\.00"),
        (tensors_of(step()) | {"second.0": torch.ones(4)}, "expected one direction for 'clamp', got a second one"),
        (tensors_of(step()) | {"vector.0": NAN}, "expected finite numbers and a positive length"),
        (tensors_of(step()) | {"vector.0": torch.zeros(4)}, "expected finite numbers and a positive length"),
        (tensors_of(step()) | {"vector.0": torch.full((4,), 3e38)}, "expected finite numbers and a positive length"),
        (tensors_of(step()) | {"vector.0": torch.ones(3)}, "expected width 4 at resid_post.1, got 3"),
        (tensors_of(step()) | {"gate.0": torch.ones(3)}, "expected width 4 at resid_pre.1, got 3"),
        (tensors_of(step()) | {"gate.0": NAN}, "a gate's vector of finite numbers"),
    ],
)
def test_a_wrong_vector_is_told(tmp_path, tensors, match):
    refused(write(tmp_path / "p.safetensors", [step()], tensors), match)


def test_a_gate_vector_without_a_gate_a_missing_second_and_a_parallel_one_are_told(tmp_path):
    path = tmp_path / "p.safetensors"
    refused(write(path, [step(gate=None)], tensors_of(step())), "no gate's vector for a step without a gate")
    turn = step(edit="rotate", settings={"degrees": 1.0}, gate=None)
    refused(write(path, [turn], {"vector.0": torch.ones(4)}), "expected a second direction for 'rotate'")
    both = {"vector.0": torch.ones(4), "second.0": torch.ones(4) * 2}
    refused(write(path, [turn], both), "two directions that span a plane, got parallel ones")
    refused(write(path, [turn], {"vector.0": torch.ones(4), "second.0": torch.ones(3)}), "expected width 4")


@pytest.mark.parametrize("steps", [None, {}, "x", 3, [None], [[]], ["step"]])
def test_steps_that_are_none_are_told(tmp_path, steps):
    refused(write(tmp_path / "p.safetensors", steps, {}), "wrong field")


def test_a_step_that_stands_twice_is_told(tmp_path):
    twice = [step(), step(coefficient=0.25)]
    refused(write(tmp_path / "p.safetensors", twice), "differ in more than their coefficient")


def test_a_head_of_another_width_is_taken_from_a_file_and_left_to_the_model(tmp_path):
    site = Site(1, "head", 2)
    narrow = Direction({site: torch.ones(8)}, {site: 1.0}, origin(), "made up")
    held = Plan(narrow, AddKeepingNorm(), coefficient=0.5)
    assert load_plan(save_plan(held, tmp_path / "p.safetensors")) == held
