"""The command select: what it prints, what it writes, and what it refuses before a model is loaded."""

import json
from dataclasses import replace

import pytest

from steersman.files import load_direction, save_direction
from steersman.where import Site


@pytest.fixture
def given(folder, tmp_path) -> list[object]:
    """The command as it works on a tiny model, with few items."""
    prompts = tmp_path / "open.txt"
    prompts.write_text("Hi\nWhat now?\n", encoding="utf-8")
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    held = ["--direction", folder / "direction.safetensors", "--layer", "1,3", "--budget", "kl=50"]
    few = ["--limit", "2", "--completions", "10", "--prompts", prompts]
    return ["select", *held, *few, *model]


def test_json_has_the_choice_with_every_completion(steersman, given, tmp_path):
    saved, out = tmp_path / "ranged.safetensors", tmp_path / "chosen"
    done = steersman(*given, "--sign", "both", "--mode", "alert", "--json", "--save", saved, "--out", out)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [each["sign"] for each in found["selections"]] == [1, -1]
    for each in found["selections"]:
        assert each["status"] in ("chosen", "nothing within budget")
        assert each["reason"]
        assert [one["site"] for one in each["considered"]] == ["resid_post.1", "resid_post.3"]
        for one in each["considered"]:
            assert one["search"]["completions"] <= 10
            assert all(len(trial["completions"]) == 2 for trial in one["search"]["curve"])
    assert json.loads((out / "selection.json").read_text())["selections"] == found["selections"]
    held = load_direction(saved)
    assert {own.sign for own in held.ranges} == {1, -1}
    assert {own.site for own in held.ranges} == {Site(1), Site(3)}
    assert len(held.sites) == 3
    assert "sites +: 2 items" in done.err


def test_people_get_tables_and_the_reason(steersman, given):
    done = steersman(*given, "--mode", "alert")
    assert done.code == 0, done.err
    assert "expression, sign +1, on validation items" in done.out
    assert "resid_post.1" in done.out
    assert "resid_post.3" in done.out
    last = done.out.strip().splitlines()[-1]
    assert "kl" in last


def test_a_tasks_metric_can_be_the_target(steersman, given, folder):
    texts = folder / "prompts.jsonl"
    done = steersman(*given, "--target", f"refusal={texts}", "--layer", "1", "--mode", "alert", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["selections"][0]["objective"] == "refusal refusal_rate"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--budget", "love=3"], "expected a budget of kl"),
        (["--budget", "much"], "expected a budget such as kl=0.5"),
        (["--sign", "up"], "expected --sign to be one of +, -, both, got 'up'"),
        (["--mode", "guess"], "expected --mode to be one of"),
        (["--edit", "clamp"], "expected --edit to be one of add, add_keeping_norm, ablate, got 'clamp'"),
        (["--edit", "ablate", "--sign", "both"], "expected one --sign with --edit ablate, got both"),
        (["--target", "joy"], "expected a --target among expression"),
        (["--target", "contrast"], "expected --concept TEXT"),
        (["--layer", "7"], "7"),
        (["--direction", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--unit", "miles"], "expected --unit to be one of norm, raw"),
        (["--completions", "3"], "expected at least 10 completions for 2 prompts, got 3"),
    ],
)
def test_bad_input_is_one_sentence_before_any_model_is_loaded(steersman, given, more, words, monkeypatch):
    monkeypatch.setattr("steersman.cli.selecting.open_model", lambda *_: pytest.fail("a model was loaded"))
    done = steersman(*given, *more)
    assert done.code == 2
    assert done.out == ""
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_is_there_is_not_overwritten(steersman, given, tmp_path):
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"mine")
    (tmp_path / "selection.json").write_text("mine")
    for more in (["--save", there], ["--out", tmp_path], ["--out", there]):
        done = steersman(*given, *more)
        assert done.code == 2
        assert "there" in done.err or "selection.json" in done.err
    assert there.read_bytes() == b"mine"
    assert (tmp_path / "selection.json").read_text() == "mine"


def test_the_same_command_again_finds_its_folder_finished_and_another_is_refused(
    steersman, given, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    command = [*given, "--mode", "alert", "--out", out]
    assert steersman(*command).code == 0
    before = {name: (out / name).read_bytes() for name in ("selection.json", "selection.html", "items.jsonl")}
    with monkeypatch.context() as patch:
        patch.setattr("steersman.model.loaded.Model.complete", lambda *_, **__: pytest.fail("something was completed"))
        assert steersman(*command).code == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    other = steersman(*command, "--sign", "-")
    assert other.code == 2
    assert "holds a run with other settings" in other.err
    assert (out / "selection.json").read_bytes() == before["selection.json"]
    assert steersman(*command, "--sign", "-", "--force").code == 0


def test_a_folder_is_of_one_direction_with_its_length_and_of_all_items_of_the_target(
    steersman, given, folder, tmp_path
):
    out, texts = tmp_path / "out", tmp_path / "texts.jsonl"
    texts.write_text((folder / "prompts.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    command = [*given, "--layer", "1", "--mode", "alert", "--target", f"refusal={texts}", "--out", out]
    assert steersman(*command).code == 0
    held = load_direction(folder / "direction.safetensors")
    longer = replace(held, vectors={site: 4 * vector for site, vector in held.vectors.items()})
    # In norm units both steer alike, but what completions are projected on is another unit.
    other = save_direction(longer, tmp_path / "longer.safetensors")
    done = steersman(*command, "--direction", other)
    assert (done.code, "holds a run with other settings" in done.err) == (2, True)
    lines = texts.read_text(encoding="utf-8").splitlines()
    codes: list[int] = []
    for index, line in enumerate(lines):
        lines[index] = line.replace('"prompt": "', '"prompt": "So, ')
        texts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        lines[index] = line
        codes.append(steersman(*command).code)
    # Two items to choose on and two to confirm on are taken of the five.
    assert sorted(codes) == [0, 2, 2, 2, 2]


def test_a_target_that_the_budget_limits_is_refused_before_any_model_is_loaded(steersman, given, folder, monkeypatch):
    monkeypatch.setattr("steersman.cli.selecting.open_model", lambda *_: pytest.fail("a model was loaded"))
    texts = folder / "prompts.jsonl"
    done = steersman(*given, "--target", f"over-refusal={texts}", "--budget", "over-refusal=0.1")
    assert done.code == 2
    assert "expected a target that the budget does not limit, got the task 'over-refusal' for both" in done.err
