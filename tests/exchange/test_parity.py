"""Steering against an engine of its own: the shipped check, run as its users run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "parity"


def needs(environment: str, command: str) -> None:
    marker = FOLDER.parents[1] / ".peers" / environment / "ready.txt"
    if not marker.is_file():
        pytest.skip(f"needs the environment .peers/{environment}; `{command}` makes it")


def checked(script: str, *arguments: str) -> tuple[int, dict]:
    command = [sys.executable, str(FOLDER / script), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_llama_cpp_agrees():
    needs("llama", "make parity")
    code, result = checked("llama_cpp.py")
    assert code == 0
    assert len(result["rows"]) == 5
    for row in result["rows"]:
        assert row["max_difference"] <= 1e-3
        assert row["same_next_token"] == row["prompts"] == 10
        assert row["setting"] == "unsteered" or row["moved_by_steering"] > 1


@pytest.mark.slow
def test_a_baked_folder_means_the_same_to_transformers_4():
    needs("transformers457", "make parity")
    code, result = checked("transformers_457.py")
    assert code == 0
    assert len(result["rows"]) == 2
    for row in result["rows"]:
        assert row["max_difference"] <= 1e-3
        assert row["same_tokens"]
        assert row["moved_by_steering"] > 1


@pytest.mark.slow
def test_a_folder_without_the_older_word_for_the_rotary_base_is_noticed():
    needs("transformers457", "make parity")
    code, result = checked("transformers_457.py", "--drop", "rope_theta")
    assert code == 1
    assert all(row["max_difference"] > 0.1 for row in result["rows"])


@pytest.mark.slow
@pytest.mark.parametrize("places", ["1", "-1"])
def test_a_layer_that_is_off_by_one_is_noticed(places):
    needs("llama", "make parity")
    code, result = checked("llama_cpp.py", "--shift", places)
    assert code == 1
    assert [row["ok"] for row in result["rows"]] == [True, False, False, False, False]
    assert min(row["max_difference"] for row in result["rows"][1:]) > 0.1


def mmlu(*arguments: str) -> int:
    if not (Path(os.environ.get("STEERSMAN_DATA", FOLDER.parents[2] / "shared" / "data")) / "mmlu").is_dir():
        pytest.skip("needs the published questions in ../shared/data/mmlu or $STEERSMAN_DATA/mmlu")
    command = [sys.executable, str(FOLDER / "mmlu.py"), "--shots", "0", "--limit", "12", *arguments]
    return subprocess.run(command, capture_output=True, timeout=1800, check=False).returncode


@pytest.mark.slow
def test_the_harness_answers_mmlu_as_we_do(tmp_path):
    assert mmlu("--out", str(tmp_path / "same")) == 0


@pytest.mark.slow
def test_another_prompt_is_found_out(tmp_path):
    assert mmlu("--out", str(tmp_path / "other"), "--spoil") == 1
