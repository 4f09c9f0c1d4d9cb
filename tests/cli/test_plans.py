"""Plan files on the command line: what `generate` saves, `generate`, `evaluate` and `sweep` apply."""

import json

import pytest
import torch
from sentences import refused

from steersman.arms import random_plan
from steersman.edits import Ablate
from steersman.files import load_direction, load_plan, save_plan
from steersman.model.load import load
from steersman.plan import Plan
from steersman.where import Site
from tiny import direction
from tiny import plan as tiny_plan


@pytest.fixture(scope="module")
def held(folder):
    return load_direction(folder / "direction.safetensors")


@pytest.fixture(scope="module")
def ablation(folder, held):
    """An ablation everywhere, in `plan.safetensors`."""
    plan = Plan(held.at(1).everywhere(), Ablate())
    save_plan(plan, folder / "plan.safetensors", force=True)
    return plan


@pytest.fixture
def by_plan(commands, folder, ablation):
    """Each steering command with the plan file in place of the direction."""
    instead = {"--direction": "--plan", folder / "direction.safetensors": folder / "plan.safetensors"}
    return {name: [instead.get(part, part) for part in commands[name]] for name in ("generate", "evaluate", "sweep")}


def test_generate_saves_the_plan_that_it_used(steersman, commands, held, tmp_path):
    path = tmp_path / "made.safetensors"
    flags = ["--edit", "ablate", "--everywhere", "--layer", "1", "--save-plan", path]
    done = steersman(*commands["generate"], *flags)
    assert (done.code, done.err) == (0, f"plan: {path}\n")
    assert load_plan(path) == Plan(held.at(1).everywhere(), Ablate())
    before = path.read_bytes()
    refused(steersman(*commands["generate"], *flags), "exists already; give another name, or --force")
    assert path.read_bytes() == before
    assert steersman(*commands["generate"], *flags, "--force").code == 0


def test_generate_applies_a_plan_file(steersman, by_plan, folder, ablation):
    done = steersman(*by_plan["generate"], "--json")
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    model = load(str(folder / "model"), dtype="float32", device="cpu")
    assert [row["steered"] for row in rows] == model.generate(
        [row["prompt"] for row in rows], ablation, max_new_tokens=6
    )
    assert rows[0]["steps"] == ablation.describe()
    assert "steered: ablate 1 everywhere" in " ".join(steersman(*by_plan["generate"]).out.split())


def test_evaluate_measures_an_ablation(steersman, by_plan):
    done = steersman(*by_plan["evaluate"], "--json")
    assert done.code == 0, done.err
    rows = [row for row in json.loads(done.out)["results"] if row["task"] == "fluency"]
    assert [(row["arm"], row["coefficient"], row["unit"]) for row in rows] == [
        ("unsteered", 0.0, "norm"),
        ("steered", 1.0, "plan"),
        *[("random", 1.0, "plan")] * 4,  # three seeds and their mean
        ("permuted", 1.0, "plan"),
    ]
    # The opposite of an ablated vector is the same line, so there is no negated arm; every other does its own.
    assert len({row["value"] for row in rows}) == len(rows)
    assert "steered: ablate 1 everywhere" in steersman(*by_plan["evaluate"]).out


def test_sweep_scales_the_plan(steersman, by_plan):
    command = [part for part in by_plan["sweep"] if not str(part).startswith("--coefficients")]
    done = steersman(*command, "--coefficients=0.5,1", "--json")
    assert done.code == 0, done.err
    arms = [(r["arm"], r["coefficient"]) for r in json.loads(done.out)["results"] if r["task"] == "fluency"]
    assert arms == [("unsteered", 0.0), ("steered", 0.5), ("steered", 1.0), *[("random", 1.0)] * 4, ("permuted", 1.0)]
    refused(steersman(*by_plan["sweep"]), "expected a fraction from 0 to 1 as the coefficient of 'ablate', got -0.5")


def test_the_random_control_of_a_plan_keeps_all_but_the_vectors(ablation):
    control = random_plan(ablation, 1)
    assert control.describe() == [said | {"length": pytest.approx(said["length"])} for said in ablation.describe()]
    first = control.steps[0].vector
    assert all(torch.equal(step.vector, first) for step in control)  # ablated everywhere along one direction
    assert not torch.equal(first, ablation.steps[0].vector)
    assert random_plan(ablation, 1) == control != random_plan(ablation, 2)


@pytest.mark.parametrize("command", ["generate", "evaluate", "sweep"])
def test_exactly_one_of_direction_and_plan(steersman, commands, by_plan, folder, command):
    both = [*commands[command], "--plan", folder / "plan.safetensors", "--model", "no-such-model"]
    refused(steersman(*both), "expected --direction or --plan, exactly one of both, got both")
    without = [part for part in commands[command] if "direction" not in str(part)]
    refused(steersman(*without), "expected --direction or --plan, exactly one of both, got neither")
    refused(
        steersman(*by_plan[command], "--layer", "1", "--span", "prompt", "--model", "no-such-model"),
        "expected --plan without --layer and --span, got it beside a plan, which has its own",
    )


def test_one_kind_of_file_for_the_other_is_said(steersman, commands, by_plan, folder):
    done = steersman(*commands["generate"], "--direction", folder / "plan.safetensors")
    refused(done, r"got the plan file '.*plan\.safetensors'; give it with --plan")
    done = steersman(*by_plan["generate"], "--plan", folder / "direction.safetensors")
    refused(done, r"got the direction file '.*direction\.safetensors'; give it with --direction")


def test_a_plan_of_another_model_or_none_is_said(steersman, by_plan, tmp_path):
    save_plan(tiny_plan(1, [1], coefficient=0.0), tmp_path / "idle.safetensors")
    done = steersman(*by_plan["evaluate"], "--plan", tmp_path / "idle.safetensors")
    refused(done, "expected a plan that does something in .*, got no step or coefficient 0 in all")
    save_plan(Plan(direction(1, [1], width=16)), tmp_path / "other.safetensors")
    for command in by_plan.values():
        refused(steersman(*command, "--plan", tmp_path / "other.safetensors"), "expected a direction of width 32 for 4")


def test_a_site_by_name(steersman, commands, held):
    done = steersman(*commands["generate"], "--layer", "resid_post.3,0", "--json")
    assert [step["site"] for step in json.loads(done.out)[0]["steps"]] == [str(Site(0)), str(Site(3))]
