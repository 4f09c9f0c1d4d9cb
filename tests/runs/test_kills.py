"""An evaluation killed twenty times ends in the bytes of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import killed
import pytest

KILLS = 20
FILES = ("results.json", "differences.json", "groups.json", "outcomes.jsonl", "completions.jsonl")
TOTAL = len(killed.SETTINGS) * sum(len(task.items) for task in killed.TASKS)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no SIGKILL and no fork on this system")


def records(folder):
    header, *lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(header) == {"steersman": "items", "format": 2}
    return [json.loads(line) for line in lines]


def test_twenty_kills_change_nothing_and_cost_at_most_the_batches_in_flight(tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "killed.py"), str(tmp_path), str(KILLS), "7"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["landed"] >= 15
    calm, hard = tmp_path / "calm", tmp_path / "hard"
    for name in FILES:
        assert (hard / name).read_bytes() == (calm / name).read_bytes(), name
        assert len((calm / name).read_bytes()) > 2
    kept = records(hard)
    assert len({record["key"] for record in kept}) == len(kept) == TOTAL
    assert kept == records(calm)
    computed = [sum(map(int, (folder / "computed").read_text().split())) for folder in (calm, hard)]
    assert computed[0] == TOTAL
    assert TOTAL < computed[1] <= TOTAL + KILLS * killed.BATCH * len(killed.SETTINGS)
