"""Kill a command at random moments, again and again, and compare its run folder with an undisturbed one's.

    python benchmarks/kills.py [--kills 20] [--seed 0] [-- steersman evaluate ... ]

The command is given without its run folder: `--out FOLDER` is added. Without a command, an evaluation of the default
model. Prints how many kills landed while it worked, whether the tables are the same to the byte, and how many items the
stores hold; ends with 1 where something differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [
    *("steersman", "evaluate", "--direction", "refusal.safetensors", "--coefficient", "0.3", "--layer", "14"),
    *("--task", "refusal", "--task", "knowledge", "--limit", "120"),
]
SAME = ("results.json", "differences.json", "groups.json", "remarks.json", "outcomes.jsonl", "completions.jsonl")


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, so that a kill takes its children along."""
    return subprocess.Popen(
        [*command, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def keys(folder: Path) -> list[str]:
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["key"] for line in lines[1:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="*", default=COMMAND)
    asked = parser.parse_args()
    draws = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        calm, hard = Path(place, "calm"), Path(place, "hard")
        begun = time.monotonic()
        if start(asked.command, calm).wait():
            print("the undisturbed command failed:", *asked.command)
            return 1
        print(f"undisturbed: {time.monotonic() - begun:.0f} s, {len(keys(calm))} items")
        whole, items, landed = (calm / "items.jsonl").stat().st_size, hard / "items.jsonl", 0
        # A moment is a place in the growth of the store, and up to three seconds after it.
        for target in sorted(draws.uniform(0, 0.97) * whole for _ in range(asked.kills)):
            process = start(asked.command, hard)
            while process.poll() is None and not (items.exists() and items.stat().st_size >= target):
                time.sleep(0.002)
            time.sleep(draws.uniform(0, 3))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            landed += process.wait() == -signal.SIGKILL
            print(f"killed with {len(keys(hard)) if items.exists() else 0} items kept", flush=True)
        if start(asked.command, hard).wait():
            print("the command failed after the kills")
            return 1
        same = [name for name in SAME if (calm / name).read_bytes() == (hard / name).read_bytes()]
        once = len(set(keys(hard))) == len(keys(hard)) and sorted(keys(hard)) == sorted(keys(calm))
        print(f"{landed} of {asked.kills} kills landed; same to the byte: {', '.join(same)}; each item once: {once}")
        return 0 if len(same) == len(SAME) and once else 1


if __name__ == "__main__":
    sys.exit(main())
