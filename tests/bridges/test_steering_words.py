"""The words that benchmarks steer with: the command line's rules, and a sentence for every slip."""

from pathlib import Path

import pytest

from steersman.bridges.steering import plan_from, sites_named, steered
from steersman.edits import Ablate
from steersman.errors import FileError, InputError, MismatchError
from steersman.files import save_direction, save_plan
from steersman.plan import Plan
from steersman.where import Site
from tiny import DEPTH, direction

EVERY = direction(1, range(DEPTH))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (2, [2]),
        ("2", [2]),
        (-1, [3]),
        (0.5, [2]),
        ("1:3", [1, 2]),
        ("0,2", [0, 2]),
        ([0, "2"], [0, 2]),
        ("all", [0, 1, 2, 3]),
        (None, [2]),  # 40 % of four layers is nearest to 2
        ("resid_post.3", [3]),
    ],
)
def test_layers_are_read_as_on_the_command_line(layer: object, expected: list[int]) -> None:
    assert [site.layer for site in sites_named(EVERY, layer).sites] == expected


def test_a_direction_becomes_the_plan_that_its_words_say(direction_file: Path) -> None:
    made = plan_from(
        {"direction": str(direction_file), "layer": 1, "coefficient": "0.5", "unit": "raw", "span": "last"}
    )
    assert made == Plan(direction(1, [1, 2]).at(1), coefficient=0.5, unit="raw", span="last")
    assert plan_from({"direction": direction_file}) == Plan(direction(1, [1, 2]).at(2), coefficient=0.3)
    assert plan_from({"direction": direction_file, "edit": "ablate"}) == Plan(direction(1, [1, 2]).at(2), Ablate())
    assert plan_from({}) == Plan()


def test_a_plan_file_is_taken_as_it_is(tmp_path: Path) -> None:
    plan = Plan(EVERY.at(1), coefficient=0.2) + Plan(EVERY.at(3), Ablate(), coefficient=0.5)
    path = save_plan(plan, tmp_path / "plan.safetensors")
    assert plan_from({"plan": path}) == plan


@pytest.mark.parametrize(
    ("slip", "sentence"),
    [
        ({"direktion": "x"}, "expected model arguments among direction, .* got direktion"),
        ({"layer": 3, "coefficient": 1}, "expected direction=FILE beside layer, coefficient, got none"),
        ({"plan": "p.safetensors", "layer": 1}, "expected plan=FILE alone, .* got layer beside it"),
        (
            {"direction": "FILE", "edit": "clamp"},
            "expected edit to be one of add, add_keeping_norm, ablate, got 'clamp'",
        ),
        ({"direction": "FILE", "coefficient": "much"}, "expected a number for coefficient, got 'much'"),
        ({"direction": "FILE", "coefficient": True}, "expected a number for coefficient, got True"),
        ({"direction": "FILE", "layer": 9}, "expected a layer from -4 to 3, got 9"),
        ({"direction": "FILE", "unit": "volts"}, "expected a unit among norm, raw, got 'volts'"),
        ({"direction": "FILE", "span": "end"}, "got 'end'"),
    ],
)
def test_a_slip_is_told_before_any_model_is_loaded(
    slip: dict[str, object], sentence: str, direction_file: Path
) -> None:
    given = {name: str(direction_file) if value == "FILE" else value for name, value in slip.items()}
    with pytest.raises(InputError, match=sentence):
        steered("no/such-model", given)


def test_a_missing_file_and_an_idle_plan_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing\.safetensors"):
        plan_from({"direction": str(tmp_path / "missing.safetensors")})
    idle = save_plan(Plan(EVERY.at(1), coefficient=0.0), tmp_path / "idle.safetensors")
    with pytest.raises(InputError, match="expected a plan that does something"):
        plan_from({"plan": idle})


def test_a_direction_of_another_model_is_refused(plain_folder: Path, tmp_path: Path) -> None:
    path = save_direction(direction(1, [1], width=48), tmp_path / "wide.safetensors")
    with pytest.raises(MismatchError, match="expected a direction of width 32"):
        steered(str(plain_folder), {"direction": path, "layer": 1})


def test_the_facts_of_a_log_say_what_is_done(plain_folder: Path, direction_file: Path) -> None:
    found = steered(str(plain_folder), {"direction": direction_file, "layer": 1}, dtype="float32")
    facts = found.facts()
    assert facts["source"] == str(direction_file)
    assert [step["site"] for step in facts["plan"]] == [str(Site(1))]
    assert facts["digest"] == found.plan.digest()
    assert found.identity != steered(str(plain_folder), {}, dtype="float32").identity
