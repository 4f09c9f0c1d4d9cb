"""Bad input is one sentence on stderr and exit code 2; Ctrl-C is 130, and the same command goes on."""

import errno
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from sentences import HERE, refused

from disks import FULL_DISKS, seemingly
from steersman.errors import InterventionError
from steersman.files import save_direction
from steersman.model.loaded import Model
from tiny import direction


def but(arguments, option, value):
    """Return the arguments with an option's value changed, or the option added."""
    if option in arguments:
        place = arguments.index(option) + 1
        return [*arguments[:place], value, *arguments[place + 1 :]]
    return [*arguments, option, value]


STEERING = ("generate", "evaluate", "sweep")
EVERY = ("extract", *STEERING)


# What was typed.


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["nonsense"], r"No such command 'nonsense'.* \(see steersman --help\)"),
        (["--nonsense"], r"No such option.* --nonsense"),
        (["models", "--nonsense"], r"No such option.* --nonsense.* \(see steersman models --help\)"),
        (["models", "surplus"], "unexpected extra argument"),
        (["extract"], "Missing option '--out'"),
        (["generate", "--direction", "x"], "Missing argument"),
        (["generate", "Hi"], "expected --direction or --plan, exactly one of both, got neither"),
        (["generate", "Hi", "--direction"], "'--direction' requires an argument"),
        (["sweep", "--direction", "x"], "Missing option '--coefficients'"),
        (["generate", "Hi", "--direction", "x", "--coefficient", "much"], "Invalid value for '--coefficient'"),
        (["evaluate", "--direction", "x", "--limit", "ten"], "Invalid value for '--limit'"),
        (["evaluate", "--direction", "x", "--limit", "0"], "expected a --limit of at least 1, got 0"),
        (["evaluate", "--direction", "x", "--task", "sums"], "expected a task among refusal, .*got 'sums'"),
        (["evaluate", "--direction", "x", "--set", "harmful"], "expected --set NAME=PATH, got 'harmful'"),
        (["evaluate", "--direction", "x", "--set", "sums=x"], "expected a set among .*, got sums"),
        (["sweep", "--direction", "x", "--coefficients", "1,much"], "expected --coefficients as numbers .*'1,much'"),
        (["sweep", "--direction", "x", "--coefficients", "0,0.0"], "at least one coefficient besides 0, got '0,0.0'"),
        (["sweep", "--direction", "x", "--coefficients", ","], "at least one coefficient besides 0"),
        (
            ["extract", "--out", "x.bin", "--pairs", "refusal"],
            r"expected a file name ending in \.safetensors, got 'x\.bin'",
        ),
        (
            ["extract", "--out", "x.safetensors", "--pairs", "refusal", "--contrast", "sides"],
            "expected a contrast among .*, got 'sides'",
        ),
        (["report", "none"], "none"),
        (["run", "none"], "none"),
    ],
)
def test_a_slip_in_the_command_is_said_in_a_line(steersman, tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    refused(steersman(*arguments), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "option", "value", "match"),
    [
        ("extract", "--span", "middle", "expected a span among .*, got 'middle'"),
        ("extract", "--opening-tokens", "0", "Invalid value for '--opening-tokens'"),
        ("generate", "--layer", "1.5", "expected a share of the depth from 0 to 1, got 1.5"),
        ("generate", "--layer", "first", "expected layers such as 14, -1, 0.4, 8:16 or all, got 'first'"),
        ("generate", "--unit", "volts", "expected a unit among norm, raw, got 'volts'"),
        ("generate", "--span", "middle", "expected a span among .*, got 'middle'"),
        ("generate", "--coefficient", "nan", "expected a finite coefficient, got nan"),
        ("generate", "--coefficient", "inf", "expected a finite coefficient, got inf"),
        ("generate", "--max-new-tokens", "0", "max_new_tokens of at least 1, got 0"),
        ("generate", "--temperature", "-1", "temperature of 0 or more, got -1"),
        ("sweep", "--coefficients", "nan", "expected a finite coefficient, got nan"),
        ("evaluate", "--max-new-tokens", "0", "max_new_tokens of at least 1, got 0"),
        ("evaluate", "--dtype", "float3", "float3"),
        ("evaluate", "--device", "abacus", "abacus"),
    ],
)
def test_a_value_out_of_range_is_said_in_a_line(steersman, commands, command, option, value, match):
    refused(steersman(*but(commands[command], option, value)), match)


# Files that are not what they should be.


@pytest.mark.parametrize("command", STEERING)
def test_a_missing_direction_is_said_before_the_model_is_loaded(steersman, commands, command):
    arguments = but(but(commands[command], "--direction", "none.safetensors"), "--model", "no-such-model")
    refused(steersman(*arguments), r"expected a direction file, got 'none\.safetensors', which does not exist")


@pytest.mark.parametrize("command", STEERING)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_direction_is_said(steersman, commands, folder, tmp_path, command, share):
    content = (folder / "direction.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: int(share * len(content))])
    refused(steersman(*but(commands[command], "--direction", path)), r"cut\.safetensors: expected a safetensors file")


@pytest.mark.parametrize("command", STEERING)
def test_a_vector_changed_since_is_said(steersman, commands, folder, tmp_path, command):
    content = bytearray((folder / "direction.safetensors").read_bytes())
    content[-4:] = bytes(torch.tensor([float("nan")]).view(torch.uint8).tolist())
    path = tmp_path / "changed.safetensors"
    path.write_bytes(content)
    match = r"changed\.safetensors: expected the sha256 that the file was written with, got another one"
    refused(steersman(*but(commands[command], "--direction", path)), match)


@pytest.mark.parametrize("command", STEERING)
@pytest.mark.parametrize(("depth", "width"), [(4, 16), (6, 32)])
def test_a_direction_of_another_model_is_said(steersman, commands, tmp_path, command, depth, width):
    path = save_direction(direction(depth=depth, width=width), tmp_path / "other.safetensors")
    match = f"expected a direction of width 32 for 4 layers .* got width {width} for {depth} layers; fit one"
    refused(steersman(*but(commands[command], "--direction", path)), match)


@pytest.mark.parametrize("command", STEERING)
@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (4, "expected a layer from -4 to 3, got 4"),
        (-5, "expected a layer from -4 to 3, got -5"),
        (2, r"expected a layer that the direction holds \(0, 1, 3\), got 2"),
    ],
)
def test_a_layer_out_of_range_is_said(steersman, commands, command, layer, match):
    refused(steersman(*commands[command], "--layer", layer), match)


@pytest.mark.parametrize("command", EVERY)
@pytest.mark.parametrize("name", ["no-such-model", "./none", "none.gguf", "", "a b/c"])
def test_an_unknown_model_is_said(steersman, commands, command, name):
    refused(steersman(*but(commands[command], "--model", name)), "[Mm]odel")


@pytest.mark.parametrize("content", ["{", '{"model_type": "none"}', "{}"])
def test_a_folder_that_is_no_model_is_said(steersman, commands, tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    refused(steersman(*but(commands["generate"], "--model", tmp_path)), "could not be loaded|[Mm]odel")


SETS = {
    "{": "expected a JSON object, got text that is not JSON",
    "[1]": "expected a JSON object, got list",
    '{"id": []}': "expected",
    "{}": "expected",
}


@pytest.mark.parametrize("command", ["extract", "evaluate", "sweep"])
@pytest.mark.parametrize("line", SETS)
def test_a_malformed_line_is_said_with_file_and_number(steersman, commands, folder, tmp_path, command, line):
    good = (folder / ("pairs.jsonl" if command == "extract" else "prompts.jsonl")).read_text(encoding="utf-8")
    path = tmp_path / "set.jsonl"
    path.write_text(good + line + "\n" + good, encoding="utf-8")
    number = good.count("\n") + 1
    option, value = ("--pairs", path) if command == "extract" else ("--set", f"harmful={path}")
    match = rf"set\.jsonl, line {number}: {re.escape(SETS[line])}"
    refused(steersman(*but(commands[command], option, value)), match)


@pytest.mark.parametrize("command", ["extract", "evaluate", "sweep"])
@pytest.mark.parametrize(("content", "match"), [("", "at least one item, got none"), (None, "which does not exist")])
def test_an_empty_or_missing_set_is_said(steersman, commands, tmp_path, command, content, match):
    path = tmp_path / "set.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    option, value = ("--pairs", path) if command == "extract" else ("--set", f"harmful={path}")
    refused(steersman(*but(commands[command], option, value)), match)


# Places that cannot be written.


def test_an_existing_file_is_not_replaced_without_force(steersman, commands, tmp_path):
    path = tmp_path / "new.safetensors"
    path.write_bytes(b"old")
    refused(steersman(*commands["extract"]), r"new\.safetensors exists already; give another name, or --force")
    assert path.read_bytes() == b"old"
    assert steersman(*commands["extract"], "--force").code == 0
    assert path.read_bytes() != b"old"


def ended(done, match):
    """Assert that a command that had begun its work ended in one sentence."""
    *_, last = done.err.splitlines()
    assert (done.code, done.out, last.startswith(HERE)) == (2, "", True), done.err
    assert "Traceback" not in done.err
    assert re.search(match, last), last


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("command", ["extract", "sweep"])
def test_a_read_only_output_folder_is_said(steersman, commands, tmp_path, command, code):
    option, name = ("--out", "new.safetensors" if command == "extract" else "run")
    with seemingly(code, tmp_path / "closed") as closed:
        done = steersman(*but(commands[command], option, closed / name))
    ended(done, "no permission to write there; give a folder that you may write to")


@pytest.mark.parametrize("kind", FULL_DISKS)
@pytest.mark.parametrize("command", ["extract", "sweep"])
def test_a_full_disk_is_said(steersman, commands, tmp_path, command, kind):
    name = "new.safetensors" if command == "extract" else "run"
    with FULL_DISKS[kind](tmp_path / "disk") as disk:
        done = steersman(*but(commands[command], "--out", disk / name))
        left = [path for path in (disk / name).rglob("*") if path.is_file() and path.stat().st_size]
        assert left == [], left
    ended(done, f"{name}(/.*)?: the disk is full; make room and run the same command again")


def test_a_full_disk_behind_stdout_is_said(steersman, monkeypatch, tmp_path):
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path))
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        done = steersman("models", "--json")
        sys.stdout.detach()
    refused(done, "the output: No space left on device")


# Interrupted.


@pytest.fixture
def calm(steersman, commands, _small_batches, tmp_path):
    """What the sweep prints when nobody disturbs it, less where its page is."""
    commands["sweep"] += ["--no-control", "permuted", "--no-control", "negated", "--random-seeds", "1"]
    done = steersman(*commands["sweep"], "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def told(done, folder):
    """Return what a command with a run folder printed, less where its page is."""
    said = json.loads(done.out)
    assert said["report"] == str(folder / "report.html")
    assert (folder / "report.html").is_file()
    return said | {"report": None}


def items(folder: Path) -> list[str]:
    """Return the keys of a run's finished items; the first line is the store's header."""
    return [json.loads(line)["key"] for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()[1:]]


@pytest.fixture
def _heeding():
    """Interrupts are heard, also where the tests run in the background, whose processes begin deaf to them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeding")
@pytest.mark.parametrize("after", [0, 1, 2])
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    steersman, commands, tmp_path, monkeypatch, calm, after
):
    folder = tmp_path / "run"
    command = [*commands["sweep"], "--out", folder, "--json"]
    plain, asked = Model.complete, []

    def interrupted(self, prompts, *rest):
        if len(asked) == after:
            signal.raise_signal(signal.SIGINT)
        asked.append(prompts)
        return plain(self, prompts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "complete", interrupted)
        done = steersman(*command)
    assert (done.code, done.out) == (130, "")
    last = done.err.splitlines()[-1]
    assert last == "steersman: interrupted; finished work is kept, and the same command goes on from there"
    kept = items(folder)
    assert len(kept) >= 4 * 2 * after  # two items of a batch under each of four settings
    again = []

    def counting(self, prompts, *rest):
        again.append(prompts)
        return plain(self, prompts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "complete", counting)
        done = steersman(*command)
    assert done.code == 0, done.err
    assert told(done, folder) == calm
    assert len(asked) + len(again) == 3  # three batches, each under all settings, none twice
    assert items(folder)[: len(kept)] == kept
    assert len(set(items(folder))) == len(items(folder)) == 4 * 8


def test_ctrl_c_before_the_work_begins_is_said(steersman, commands, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("steersman.cli.options.load", interrupted)
    for command in EVERY:
        refused(steersman(*commands[command]), "interrupted", code=130)


@pytest.mark.parametrize("after", [0, 9])
def test_a_disk_that_fills_up_keeps_what_is_finished_and_the_same_command_goes_on(
    steersman, commands, tmp_path, monkeypatch, calm, after
):
    folder = tmp_path / "run"
    command = [*commands["sweep"], "--out", folder, "--json"]
    plain, synced = os.fsync, []

    def filling(file):
        if len(synced) == after:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced.append(file)
        plain(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        ended(steersman(*command), "the disk is full")
    # Before the first item, the configuration and the header of the store are written.
    assert (len(items(folder)) if (folder / "items.jsonl").exists() else 0) == max(after - 2, 0)
    done = steersman(*command)
    assert done.code == 0, done.err
    assert told(done, folder) == calm


def test_a_damaged_store_is_said_with_its_line(steersman, commands, tmp_path):
    folder = tmp_path / "run"
    command = [*commands["sweep"], "--out", folder]
    assert steersman(*command).code == 0
    store = folder / "items.jsonl"
    header, *lines = store.read_text(encoding="utf-8").splitlines(keepends=True)
    store.write_text(header + "{}\n" + "".join(lines), encoding="utf-8")
    ended(steersman(*command), r"items\.jsonl, line 2: expected a finished item")


def test_steering_that_did_not_happen_is_exit_code_1(steersman, commands, monkeypatch):
    def failing(*_, **__):
        raise InterventionError("resid_post.1 was asked for\nand never applied")

    monkeypatch.setattr(Model, "complete", failing)
    refused(steersman(*commands["generate"]), "resid_post.1 was asked for and never applied", code=1)


def test_a_hub_model_that_cannot_be_had_is_said(steersman, commands, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = steersman(*but(commands["generate"], "--model", "nobody/no-such-model"))
    ended(done, "the model 'nobody/no-such-model' could not be loaded")
