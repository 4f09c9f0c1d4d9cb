"""The refusal study end to end on a tiny model: complete, repeatable, and indifferent to being killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steersman.cli.app import run
from steersman.files import load_direction
from steersman.tasks import ARM_WORDS

TABLES = (
    "results.json",
    "differences.json",
    "results.csv",
    "completions.jsonl",
    "layers.json",
    "selection/selection.json",
)
COMMAND = "import sys, torch; torch.set_num_threads(1); from steersman.cli.app import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture(scope="module")
def undisturbed(study, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run(["run", str(study), "--out", str(folder)]) == 0
    return folder


def rows(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def finished(items: Path) -> list[str]:
    lines = items.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"steersman": "items", "format": 2}
    return [json.loads(line)["key"] for line in lines[1:]]


def test_every_task_metric_and_arm_is_there_with_its_interval(undisturbed):
    found = rows(undisturbed)
    assert {(row["task"], row["metric"]) for row in found} >= {
        ("refusal", "refusal_rate"),
        ("refusal", "completion_logprob"),
        ("helpfulness", "refusal_rate"),
        ("helpfulness", "helpful_rate"),
        ("over-refusal", "refusal_rate"),
        ("knowledge", "accuracy_letter"),
        ("knowledge", "accuracy_text"),
        ("fluency", "cross_entropy"),
        ("honesty", "truthful_rate"),
    }
    keys = {"task", "metric", "arm", "seed", "site", "coefficient", "unit", "value", "low", "high", "n"}
    for row in found:
        assert set(row) == keys
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] >= 1
    for task in ("refusal", "helpfulness", "over-refusal", "knowledge", "fluency"):
        arms = [(row["arm"], row["unit"]) for row in found if row["task"] == task]
        assert {arm for arm, _ in arms} == set(ARM_WORDS)
        assert {unit for arm, unit in arms if arm == "steered"} == {"norm", "raw"}
        assert {row["seed"] for row in found if row["task"] == task and row["arm"] == "random"} == {None, 1, 2, 3}
    verdict = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))["verdict"]
    assert [sentence.split()[0] for sentence in verdict] in (["Vector", "The"], ["The", "The"])


def test_the_chosen_direction_is_saved_and_is_the_one_that_was_swept(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))
    saved = load_direction(undisturbed / "directions" / "refusal.safetensors")
    assert [str(site) for site in saved.sites] == [summary["chosen"]["site"]]
    assert saved.method == "optimised from mean difference"
    steered = [row for row in rows(undisturbed) if row["arm"] == "steered" and row["task"] == "refusal"]
    swept = {(row["site"], row["coefficient"]) for row in steered}
    assert (summary["chosen"]["site"], summary["chosen"]["coefficient"]) in swept


def test_the_choice_is_that_of_a_selection_which_can_be_read(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))
    searches = json.loads((undisturbed / "selection" / "selection.json").read_text(encoding="utf-8"))["selections"]
    assert [each["name"] for each in searches] == ["refusal, learned", "refusal, mean difference", "honesty"]
    assert [each["budget"] for each in searches] == [{"over-refusal": 0.1}, {"over-refusal": 0.1}, {"kl": 0.5}]
    for each, chosen in ((searches[0], summary), (searches[2], summary["honesty"])):
        found = chosen.get("chosen", chosen)
        if each["status"] == "chosen":
            assert (each["site"], each["coefficient"]) == (found["site"], found["coefficient"])
        else:
            assert "is taken all the same" in chosen["choice"]
        assert (chosen["status"] == "within budget") == (each["status"] == "chosen")
        assert each["points"] == []
    assert "selection/selection.html" in (undisturbed / "report.html").read_text(encoding="utf-8")
    assert "Which site: refusal, learned" in (undisturbed / "selection" / "selection.html").read_text(encoding="utf-8")
    saved = load_direction(undisturbed / "directions" / "refusal.safetensors")
    assert saved.ranges
    assert {str(own.site) for own in saved.ranges} == {summary["chosen"]["site"]}


def test_the_folder_says_how_it_was_made_and_the_page_opens_offline(undisturbed):
    record = json.loads((undisturbed / "provenance.json").read_text(encoding="utf-8"))
    assert record["model"]["dtype"] == "float32"
    assert len(record["model"]["revision"]) == 64
    assert set(record["data"]) >= {"refusal-pairs", "honesty-pairs", "refusal", "knowledge", "fluency"}
    assert all(len(part["sha256"]) == 64 for part in record["data"].values())
    page = (undisturbed / "report.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert 'src="http' not in page
    plots = {path.suffix for path in (undisturbed / "plots").iterdir()}
    assert plots == {".png", ".svg"}


def test_the_same_command_again_computes_nothing_and_changes_no_table(study, undisturbed):
    before = {name: (undisturbed / name).read_bytes() for name in (*TABLES, "items.jsonl")}
    assert run(["run", str(study), "--out", str(undisturbed)]) == 0
    assert {name: (undisturbed / name).read_bytes() for name in before} == before


def test_another_seed_in_the_same_folder_is_refused(study, undisturbed, capsys):
    assert run(["run", str(study), "--out", str(undisturbed), "--seed", "5"]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err


def test_a_run_killed_at_random_moments_ends_with_the_same_tables_and_repeats_no_finished_item(
    study, undisturbed, tmp_path
):
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", COMMAND, "run", str(study), "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    moments = random.Random(7)
    items = folder / "items.jsonl"
    kills = 0
    for _ in range(4):
        seen = len(items.read_bytes()) if items.exists() else 0
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Until it computes something new, then a random moment later: in the middle of some stage.
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if items.exists() and len(items.read_bytes()) > seen:
                break
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    for name in TABLES:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    keys = finished(items)
    assert len(keys) == len(set(keys))
    assert sorted(keys) == sorted(finished(undisturbed / "items.jsonl"))


def test_a_bad_set_costs_nothing(study, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "fine"}\n{"prompt": 3}\n', encoding="utf-8")
    folder = tmp_path / "run"
    assert run(["run", str(study), "--out", str(folder), "--set", f"harmful={bad}"]) == 2
    assert "bad.jsonl, line 2: expected 'prompt' as a non-empty string, got 3" in capsys.readouterr().err
    assert not folder.exists()
