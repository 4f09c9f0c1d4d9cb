"""`steersman chat` and `steersman ready` as a script calls them."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from steersman.cli import app
from steersman.files import save_direction
from steersman.model.load import load
from steersman.model.sources import resolve
from steersman.range import Range
from steersman.where import Site
from tiny import direction, tiny_network, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model in `model`, and a direction of it in `held/sunny.safetensors`."""
    folder = tmp_path_factory.mktemp("chat")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer(chat=True).save_pretrained(folder / "model")
    held = direction(1, [1, 2])
    held = replace(held, origin=replace(held.origin, revision=resolve(folder / "model").revision))
    known = Range(Site(2), 1, 2.0, 0.3, 0.1, 0.6, reason="made up")
    (folder / "held").mkdir()
    save_direction(held.with_ranges(known), folder / "held" / "sunny.safetensors")
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a command line with a script on stdin; return exit code, stdout and stderr."""

    def run(*arguments: str, script: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(script))
        code = app.run(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_a_script_is_answered_line_by_line(call, folder):
    model = str(folder / "model")
    script = "Hi\n/steer sunny -1.5\nHi\n/bogus\n/quit\nNever.\n"
    code, out, err = call("chat", model, "--directions", str(folder / "held"), "--length", "5", "--json", script=script)
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    loaded = load(model)
    plain = loaded.generate(["Hi"], max_new_tokens=5, repetition_penalty=1.1)
    assert first["assistant"] == plain[0]
    assert second["steering"][0]["name"] == "sunny"
    assert second["assistant"] != first["assistant"]
    assert "expected a command" in err
    assert "steersman ready --make" in err


def test_without_json_the_answers_alone_are_on_stdout(call, folder):
    code, out, err = call("chat", str(folder / "model"), "--length", "4", script="/directions\nHi\n")
    assert code == 0
    expected = load(str(folder / "model")).generate(["Hi"], max_new_tokens=4, repetition_penalty=1.1)[0]
    assert out == expected + "\n"
    assert "no direction is at hand" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--length", "0"], "expected max_new_tokens of at least 1"),
        (["--length", "256"], "expected answers shorter than the 256 tokens"),
        (["--temperature", "-1"], "expected a temperature of 0 or more"),
        (["--directions", "{empty}"], "expected direction files in"),
        (["--directions", "/nowhere/at/all"], "expected a folder of directions"),
        (["--direction", "/nowhere/at.safetensors"], "/nowhere/at.safetensors"),
        (["--direction", "{other}"], "expected a direction of width 32 for 4 layers"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_code_2(call, folder, tmp_path, arguments, sentence):
    (tmp_path / "empty").mkdir()
    save_direction(direction(2, [0], width=16), tmp_path / "other.safetensors")
    places = {"empty": str(tmp_path / "empty"), "other": str(tmp_path / "other.safetensors")}
    code, out, err = call("chat", str(folder / "model"), *(each.format(**places) for each in arguments), script="Hi\n")
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())


def test_ready_lists_what_fits_and_says_how_to_make_what_does_not(call, folder):
    code, out, _ = call("ready", "--model", str(folder / "model"), "--directions", str(folder / "held"), "--json")
    assert code == 2  # `sunny` is none of the six
    code, out, err = call("ready", "--model", str(folder / "model"))
    assert (code, out) == (2, "")
    assert "make them for it with: steersman ready --make --model" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--make"], "expected --make and --out FOLDER together"),
        (["--out", "x"], "expected --make and --out FOLDER together"),
        (["--make", "--out", "x", "--prove"], "expected --make without --prove"),
        (["--only", "sulky"], "expected --only among cheerful, formal"),
        (["--budget", "joy=1"], "expected a budget of"),
    ],
)
def test_ready_refuses_what_does_not_go_together(call, arguments, sentence):
    code, out, err = call("ready", *arguments)
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())
