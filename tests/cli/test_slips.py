"""What goes wrong is said in terms of what was typed, and before a model is loaded where that can be."""

import errno
import json
import tempfile
from dataclasses import replace

import pytest
from sentences import refused

from disks import seemingly
from steersman.cli import console, options
from steersman.cli.words import describe
from steersman.edits import AddKeepingNorm, Clamp, Rotate
from steersman.exchange.gguf import export_gguf
from steersman.files import load_direction, save_direction
from steersman.gates import Gate
from steersman.methods import MeanDifference
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import pairs
from steersman.recording import record
from steersman.where import Site
from tiny import direction

QUESTION = {"id": "q0", "subject": "sums", "question": "2+2=", "choices": ["3", "4", "5", "6"], "answer": 1}


@pytest.fixture
def unloaded(monkeypatch):
    """No model can be loaded: what is refused is refused before."""

    def never(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(options, "load", never)


@pytest.fixture(scope="module")
def held(folder):
    return load_direction(folder / "direction.safetensors")


@pytest.fixture(scope="module")
def heads(folder):
    """A direction at single heads and at two points, in `heads.safetensors`."""
    model = load(str(folder / "model"), dtype="float32", device="cpu")
    acts = record(model, pairs(folder / "pairs.jsonl"), layers=[1, 2], points=["head", "attn_out", "resid_post"])
    found = MeanDifference().fit(acts)
    save_direction(found, folder / "heads.safetensors", force=True)
    return found


# Before a model is loaded.


@pytest.mark.parametrize(
    ("command", "arguments", "match"),
    [
        ("generate", ["--span", "middle"], "expected a span among"),
        ("generate", ["--unit", "volts"], "expected a unit among"),
        ("generate", ["--coefficient", "nan"], "expected a finite coefficient"),
        ("generate", ["--max-new-tokens", "0"], "max_new_tokens of at least 1"),
        ("generate", ["--layer", "2"], r"expected a layer that the direction holds \(0, 1, 3\), got 2"),
        ("generate", ["--layer", "head.1"], "expected a site such as 'resid_post.14' or 'head.14.3', got 'head.1'"),
        ("generate", ["--layer", "attn_out.1"], "got attn_out.1"),
        ("generate", ["--everywhere"], "expected --everywhere with --edit ablate, got it with --edit add"),
        ("generate", ["--save-plan", "plan.json"], r"expected a file name ending in \.safetensors, got 'plan\.json'"),
        ("evaluate", ["--coefficient", "0"], "expected a --coefficient other than 0, which steers nothing"),
        ("evaluate", ["--span", "middle"], "expected a span among"),
        ("evaluate", ["--unit", "volts"], "expected a unit among"),
        ("sweep", ["--span", "end"], "expected a span that is known while"),
        ("sweep", ["--max-new-tokens", "0"], "max_new_tokens of at least 1"),
    ],
)
def test_values_are_checked_before_the_model_is_loaded(steersman, commands, unloaded, command, arguments, match):
    refused(steersman(*commands[command], *arguments), match)


@pytest.mark.parametrize(("command", "option"), [("extract", "--out"), ("generate", "--save-plan")])
def test_a_place_that_cannot_be_written_is_found_first(steersman, commands, unloaded, tmp_path, command, option):
    path = tmp_path / "closed" / "below" / "new.safetensors"
    arguments = [path if str(part).endswith("new.safetensors") else part for part in commands[command]]
    with seemingly(errno.EACCES, tmp_path / "closed"):
        refused(steersman(*arguments, *([option, path] if option not in arguments else [])), "no permission to write")
    assert list((tmp_path / "closed").iterdir()) == []


def test_a_place_that_can_be_written_is_left_as_it_was(steersman, commands, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert steersman(*commands["extract"]).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new.safetensors"]


def test_files_of_another_kind_are_named_with_what_takes_them(steersman, commands, unloaded, folder, held, tmp_path):
    gguf = export_gguf(held.at(1, 3), tmp_path / "refusal.gguf", coefficient=1.0).path
    match = rf"got the GGUF file '{gguf}'; first make one of it: steersman import {gguf} --out refusal\.safetensors"
    refused(steersman(*commands["generate"], "--direction", gguf), match)
    refused(steersman("inspect", gguf), "steersman import")
    done = steersman("import", folder / "direction.safetensors", "--out", tmp_path / "new.safetensors")
    refused(done, r"direction\.safetensors', a direction file already: use it as it is")


def test_a_second_direction_of_another_model_is_said(steersman, commands, unloaded, tmp_path):
    other = save_direction(direction(1, [1], depth=6), tmp_path / "other.safetensors")
    match = "for the same model with {}, width 32 and 4 layers .* got one made for another: width 32 and 6 layers"
    done = steersman(*commands["generate"], "--edit", "rotate", "--toward", other)
    refused(done, match.format("--toward"))
    refused(steersman(*commands["generate"], "--gate", other, "--gate-threshold", "1"), match.format("--gate"))


def test_sources_that_are_no_file_are_said(steersman, commands, unloaded, tmp_path):
    extract = ["extract", "--out", tmp_path / "new.safetensors"]
    refused(steersman(*extract, "--pairs", tmp_path), "expected a JSONL file for --pairs, got '.*', which is a folder")
    done = steersman(*commands["evaluate"], "--set", f"harmful={tmp_path}")
    refused(done, "expected CSV files of the split 'test', .* got none")
    refused(
        steersman("extract", "--words", "Love", "--out", "x.safetensors"), "two words, .* got the option --out as one"
    )
    done = steersman(*extract, "--pairs", "refusal", "--contrast", "prompt", "--opening-tokens", "8")
    refused(done, "expected --opening-tokens with a contrast that has completions .* got --contrast prompt")


def test_export_blames_what_does_not_fit(steersman, unloaded, folder, tmp_path):
    export = ["export", "--direction", folder / "direction.safetensors", "--coefficient", "1", "--layer", "1"]
    gguf = [*export, "--format", "gguf", "--out", tmp_path / "x.gguf"]
    refused(steersman(*gguf, "--everywhere"), "expected no --everywhere for a GGUF control vector")
    refused(steersman(*gguf, "--edit", "ablate"), "expected --edit add for a GGUF control vector")
    into = [*export, "--format", "folder", "--out", tmp_path / "folder"]
    refused(steersman(*into, "--everywhere"), "expected --everywhere with --edit ablate, got it with --edit add")
    assert list(tmp_path.iterdir()) == []


# Spans without a token.


def test_tasks_without_a_generated_token_are_refused_before_the_work(
    steersman, commands, folder, tmp_path, monkeypatch
):
    (tmp_path / "questions.jsonl").write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    knowledge = ["--task", "knowledge", "--set", f"knowledge={tmp_path / 'questions.jsonl'}"]
    asked = []
    monkeypatch.setattr(Model, "complete", lambda *given, **_: asked.append(given))
    for command in ("evaluate", "sweep"):
        done = steersman(*commands[command], *knowledge, "--span", "generated")
        assert (done.code, done.out, asked) == (2, "", [])
        assert "for the task knowledge, whose options are one token long, got 'generated'" in done.err
        assert "choose other tasks with --task, or another span" in done.err
    monkeypatch.undo()
    assert steersman(*commands["evaluate"], *knowledge, "--limit", 1, "--span", "last").code == 0
    assert steersman(*commands["evaluate"], "--limit", 1, "--span", "generated").code == 0


def test_a_span_beyond_a_prompt_names_the_prompt(steersman, commands):
    refused(
        steersman(*commands["generate"], "--span", "positions(20,999)"),
        r"asked for at resid_post\.1 and never applied in the prompt 'Hi': its span selected no token",
        code=1,
    )
    done = steersman(*commands["evaluate"], "--span", "positions(999)")
    assert done.code == 1
    assert "task refusal, steered arm, items 0 to 4: " in done.err
    assert "(rows" not in done.err


# Sites by name.


@pytest.mark.parametrize(
    ("layers", "sites"),
    [
        (["head.1.3"], [Site(1, "head", 3)]),
        (["attn_out.2"], [Site(2, "attn_out")]),
        (["head.1.0,resid_post.2"], [Site(1, "head", 0), Site(2)]),
        (["head.1.0", "attn_out.1"], [Site(1, "head", 0), Site(1, "attn_out")]),
    ],
)
def test_single_sites_can_be_steered(steersman, commands, folder, heads, layers, sites):
    flags = ["--direction", folder / "heads.safetensors", *(part for each in layers for part in ("--layer", each))]
    done = steersman(*commands["generate"], *flags, "--json")
    assert done.code == 0, done.err
    steps = json.loads(done.out)[0]["steps"]
    assert sorted(step["site"] for step in steps) == sorted(map(str, sites))
    assert steersman(*commands["evaluate"], *flags, "--limit", "1").code == 0


def test_one_site_is_asked_for_in_words_of_the_shell(steersman, commands, folder, heads):
    flags = ["--direction", folder / "heads.safetensors"]
    done = steersman(*commands["generate"], *flags, "--edit", "ablate", "--everywhere")
    refused(done, r"expected one site for --layer, got 6; give one with --layer, such as attn_out\.2")
    gate = ["--gate", folder / "heads.safetensors", "--gate-threshold", "0"]
    flags += ["--layer", "resid_post.2", *gate]
    done = steersman(*commands["generate"], *flags, "--gate-layer", "1")
    refused(done, r"expected one site for --gate-layer, got 6; give one with --gate-layer, such as attn_out\.1")
    done = steersman(
        *commands["generate"], *flags, "--layer", "resid_post.2", *gate, "--gate-layer", "head.1.2", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)[0]["steps"][0]["gate"] == "head.1.2"


# What was done.


@pytest.mark.parametrize(("threshold", "fired"), [("-1e9", True), ("1e9", False)])
def test_whether_a_gate_fired_is_told(steersman, commands, folder, threshold, fired):
    command = [
        *commands["generate"],
        "--gate",
        folder / "direction.safetensors",
        "--gate-threshold",
        threshold,
        "--coefficient",
        "3",
    ]
    rows = json.loads(steersman(*command, "--json").out)
    assert [row["gates"] for row in rows] == [{"resid_post.1": fired}] * 2
    assert all((row["steered"] == row["unsteered"]) != fired for row in rows)
    shown = " ".join(steersman(*command).out.split())
    assert ("gate at resid_post.1: fired" in shown, "gate at resid_post.1: did not fire" in shown) == (fired, not fired)
    assert json.loads(steersman(*commands["generate"], "--json").out)[0]["gates"] == {}
    assert "decides at each token" in steersman(*command, "--gate-when", "token").out


def test_the_words_for_a_plan(held):
    gate = Gate(Site(0), held.vectors[Site(0)], 0.5)
    for plan, words in (
        (Plan(held.at(1), coefficient=0.3), "add 0.3 norm at layer 1"),
        (Plan(held, coefficient=-2, unit="raw", span="last"), "add -2 raw at layers 0, 1, 3, span last"),
        (Plan(held.at(1), AddKeepingNorm()), "add 1 norm, keeping the norm, at layer 1"),
        (
            Plan(held.at(1), Clamp(0.2, "below"), span="generated"),
            "clamp to 0.2 norm from below at layer 1, span generated",
        ),
        (
            Plan(held.at(1), gate=gate),
            "add 1 norm at layer 1, where the projection at resid_post.0 is above 0.5 (by prompt)",
        ),
        (Plan(held.at(1)) + Plan(held.at(3), Clamp()), "add 1 norm at layer 1; clamp to 0 norm at layer 3"),
        (Plan(), "nothing"),
    ):
        assert describe(plan) == words
    turned = Plan(held.at(1), Rotate(60), second=replace(direction(2, [1]), origin=held.origin))
    assert describe(turned, "second.safetensors") == "rotate 60° towards second.safetensors at layer 1"


def test_one_site_is_no_plural(steersman, commands):
    assert " at 1 site, saved to " in steersman(*commands["extract"], "--layer", "1").err


def test_a_table_in_a_pipe_is_not_cut(steersman, commands):
    done = steersman(*commands["evaluate"])
    assert "…" not in done.out
    long = "word " * 30
    done = steersman(*commands["generate"], "--max-new-tokens", "120", long)
    assert done.code == 0
    assert 100 < max(map(len, done.out.splitlines())) <= console.WIDE
    assert "…" not in done.out


# inspect.


@pytest.fixture
def inspecting(folder):
    return ["inspect", folder / "direction.safetensors"]


def test_inspect_shows_the_layers_asked_for_without_a_model_too(steersman, inspecting, folder, tmp_path):
    shown = json.loads(steersman(*inspecting, "--layer", "0,3", "--json").out)["directions"]["direction"]
    whole = json.loads(steersman(*inspecting, "--json").out)["directions"]["direction"]
    assert shown["sites"] == [row for row in whole["sites"] if row["site"] != "resid_post.1"]
    out = steersman(*inspecting, "--layer", "3").out
    assert ("resid_post.3 " in out, "resid_post.1 " in out) == (True, False)
    for layer, match in (("2", "holds"), ("many", "expected layers such as"), ("9", "expected a layer from -4 to 3")):
        refused(steersman(*inspecting, "--layer", layer), match)
    for name, layers in (("all.png", []), ("one.png", ["--layer", "1"])):
        assert steersman(*inspecting, *layers, "--plot", tmp_path / name).code == 0
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "all.png").read_bytes()


def test_inspect_refuses_another_model_and_notes_other_weights(steersman, folder, tmp_path):
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    for other, came in ((direction(depth=6), "width 32 for 6 layers"), (direction(width=16), "width 16 for 4 layers")):
        path = save_direction(other, tmp_path / "other.safetensors", force=True)
        refused(steersman("inspect", path, *model), f"expected a direction of width 32 for 4 layers .* got {came}")
    path = save_direction(direction(), tmp_path / "weights.safetensors")
    done = steersman("inspect", path, *model)
    assert (done.code, done.err) == (0, "note: weights was fitted on tiny, other weights than model\n")


def test_top_needs_a_model(steersman, inspecting):
    refused(
        steersman(*inspecting, "--top", "3"), "expected --model beside --top, whose tokens are the model's, got none"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["run", "refusal", "--out", ""],
        ["run", "refusal", "--out="],
        ["extract", "--pairs", "refusal", "--out", " "],
        ["generate", "Hi", "--save-plan", ""],
    ],
)
def test_an_empty_place_to_write_is_not_the_folder_at_hand(command, steersman, unloaded):
    refused(steersman(*command), "expected a path behind --(out|save-plan), got an empty one")
