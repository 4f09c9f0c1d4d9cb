"""`generate` with every edit, a gate and ablation everywhere: what it prints is what the verb returns."""

import json
from dataclasses import replace

import pytest
from sentences import refused

from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Rotate
from steersman.files import load_direction, save_direction
from steersman.gates import Gate
from steersman.model.load import load
from steersman.plan import Plan
from steersman.where import Site
from tiny import direction

PROMPTS = ["Hi", "What is [bold]that[/bold]?"]


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder / "model"), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def held(folder):
    return load_direction(folder / "direction.safetensors")


@pytest.fixture(scope="module")
def second(folder, held):
    other = direction(2, [0, 1, 3])
    other = replace(other, origin=held.origin)
    save_direction(other, folder / "second.safetensors", force=True)
    return other


@pytest.fixture
def generated(steersman, commands):
    def call(*arguments):
        done = steersman(*commands["generate"], *arguments, "--json")
        assert (done.code, done.err) == (0, "")
        rows = json.loads(done.out)
        return [row["steered"] for row in rows], rows[0]["steps"]

    return call


@pytest.mark.parametrize(
    ("arguments", "edit", "coefficient"),
    [
        ([], Add(), 0.3),
        (["--edit", "add_keeping_norm", "--coefficient", "2"], AddKeepingNorm(), 2.0),
        (["--edit", "add_keeping_norm"], AddKeepingNorm(), 0.3),
        (["--edit", "ablate"], Ablate(), 1.0),
        (["--edit", "ablate", "--coefficient", "0.5"], Ablate(), 0.5),
        (["--edit", "clamp", "--value", "1.5"], Clamp(1.5), 1.0),
        (["--edit", "clamp", "--side", "below", "--value", "-0.5"], Clamp(-0.5, "below"), 1.0),
        (["--edit", "clamp"], Clamp(0.0), 1.0),
    ],
)
def test_every_edit(generated, model, held, arguments, edit, coefficient):
    texts, steps = generated(*arguments)
    plan = Plan(held.at(1), edit, coefficient=coefficient)
    assert steps == plan.describe()
    assert texts == model.generate(PROMPTS, plan, max_new_tokens=6)


def test_rotation_towards_a_second_direction(generated, model, folder, held, second):
    flags = ["--edit", "rotate", "--degrees", "60", "--toward", folder / "second.safetensors", "--layer", "0,3"]
    texts, steps = generated(*flags)
    plan = Plan(held.at(0, 3), Rotate(60.0), second=second)
    assert steps == plan.describe()
    assert texts == model.generate(PROMPTS, plan, max_new_tokens=6)


def test_ablation_everywhere(generated, model, held):
    texts, steps = generated("--edit", "ablate", "--everywhere", "--layer", "1")
    assert {step["site"] for step in steps} == {
        f"{point}.{layer}" for point in ("resid_pre", "attn_out", "mlp_out") for layer in range(4)
    }
    assert texts == model.generate(PROMPTS, Plan(held.at(1).everywhere(), Ablate()), max_new_tokens=6)


@pytest.mark.parametrize(("layers", "sites"), [("all", (0, 1, 3)), ("0:2", (0, 1)), ("0.75", (3,)), ("0,-1", (0, 3))])
def test_layers_as_text(generated, held, layers, sites):
    _, steps = generated("--layer", layers)
    assert [step["site"] for step in steps] == [f"resid_post.{layer}" for layer in sites]


@pytest.mark.parametrize("when", ["prompt", "token"])
def test_a_gate_lets_through_what_reads_above_its_threshold(generated, model, folder, held, second, when):
    shut, _ = generated("--gate", folder / "second.safetensors", "--gate-threshold", "1e9", "--coefficient", "3")
    assert shut == model.generate(PROMPTS, max_new_tokens=6)
    flags = ["--gate", folder / "second.safetensors", "--gate-threshold", "0.5", "--gate-when", when, "--gate-layer", 0]
    texts, steps = generated(*flags, "--coefficient", "3")
    gate = Gate(Site(0), second.vectors[Site(0)], 0.5, when)
    plan = Plan(held.at(1), coefficient=3.0, gate=gate)
    (step,) = steps
    assert {key: step[key] for key in plan.describe()[0]} == plan.describe()[0]
    assert (step["gate"], step["gate_threshold"]) == ("resid_post.0", 0.5)
    assert (step["gate_when"], step["gate_measure"], step["gate_bias"], step["gate_below"]) == (
        when,
        "projection",
        0.0,
        False,
    )
    assert texts == model.generate(PROMPTS, plan, max_new_tokens=6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--edit", "bend"], "expected --edit to be one of add, add_keeping_norm, ablate, clamp, rotate, got 'bend'"),
        (
            ["--edit", "ablate", "--coefficient", "1.5"],
            "expected a fraction from 0 to 1 as the coefficient of 'ablate'",
        ),
        (["--edit", "clamp", "--value", "nan"], "expected a finite value to clamp to, got nan"),
        (["--edit", "clamp", "--side", "under"], "expected --side to be one of both, above, below, got 'under'"),
        (["--value", "1"], "expected --value with --edit clamp, got it with --edit add"),
        (["--edit", "ablate", "--side", "above"], "expected --side with --edit clamp, got it with --edit ablate"),
        (["--degrees", "1"], "expected --degrees with --edit rotate, got it with --edit add"),
        (["--edit", "rotate"], "expected --toward FILE with --edit rotate and with no other edit"),
        (["--toward", "SECOND"], "expected --toward FILE with --edit rotate and with no other edit"),
        (["--edit", "rotate", "--toward", "none.safetensors"], "expected a direction file, got 'none.safetensors'"),
        (["--edit", "rotate", "--toward", "FIRST"], "expected two directions that span a plane, got parallel ones"),
        (
            ["--everywhere", "--layer", "0,1", "--edit", "ablate"],
            r"expected one site for --layer, got 2; give one with --layer, such as resid_post\.0",
        ),
        (
            ["--gate", "SECOND"],
            "expected --gate-threshold beside --gate, got none; in Python, sm.gates.fit_gate finds one",
        ),
        (["--gate-threshold", "1"], "expected --gate FILE beside the gate's other options, got none"),
        (["--gate-layer", "1"], "expected --gate FILE beside the gate's other options, got none"),
        (
            ["--gate", "SECOND", "--gate-threshold", "1", "--gate-layer", "0,1"],
            "expected one site for --gate-layer, got 2; give one with --gate-layer",
        ),
        (["--gate", "SECOND", "--gate-threshold", "1", "--gate-layer", "3"], "expected a gate that reads no later"),
        (["--gate", "SECOND", "--gate-threshold", "nan"], "expected a finite threshold and bias, got nan"),
        (
            ["--gate", "SECOND", "--gate-threshold", "1", "--gate-when", "often"],
            "expected --gate-when to be one of prompt, token, got 'often'",
        ),
        (["--span", "end"], "expected a span that is known while a text is being written, got 'end'"),
    ],
)
def test_a_slip_is_said_in_a_line(steersman, commands, folder, second, arguments, match):
    files = {"FIRST": folder / "direction.safetensors", "SECOND": folder / "second.safetensors"}
    refused(steersman(*commands["generate"], *(files.get(each, each) for each in arguments)), match)


def test_the_head_of_the_table_names_edit_and_place(steersman, commands):
    done = steersman(*commands["generate"], "--edit", "ablate", "--everywhere")
    assert done.code == 0
    assert "steered: ablate 1 everywhere" in " ".join(done.out.split())
