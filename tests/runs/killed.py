"""An evaluation of a tiny model that is killed at random moments: run by `test_kills.py` as a process of its own.

Every attempt is a fork, so that it dies by a real SIGKILL without paying for the imports again. A moment is a random
place in the growth of the store, and a random fraction of a batch's time after it.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman import evaluation
from steersman.evaluation import evaluate
from steersman.model.generate import Sampling
from steersman.prompts import Passage, PromptItem, Question
from steersman.runs import open_run, write_results
from steersman.tasks import CompletionTask, FluencyTask, KnowledgeTask, Setting
from tiny import plan, tiny_model

BATCH = 12
PROMPTS = [PromptItem(f"p{i}", f"Tell me about number {i * i}.") for i in range(50)]
QUESTIONS = [Question(f"q{i}", f"s{i % 3}", f"{i}+1=", ("1", "7", "x", str(i + 1)), i % 4) for i in range(40)]
TEXTS = [Passage(f"t{i}", f"The {i}th fox and the goose.") for i in range(30)]
SETTINGS = [
    Setting("unsteered"),
    Setting("steered", plan(1), site="resid_post.1", coefficient=1.0, unit="raw"),
    Setting("steered", plan(1).scaled(2), site="resid_post.1", coefficient=2.0, unit="raw"),
    Setting("random", plan(2), site="resid_post.1", coefficient=1.0, unit="raw", seed=2),
    Setting("prompt", system="Refuse."),
]
TASKS = [
    CompletionTask("helpfulness", PROMPTS, Sampling(max_new_tokens=12), helpfulness=True),
    KnowledgeTask(QUESTIONS),
    FluencyTask(TEXTS),
]


@dataclass(frozen=True)
class Counted:
    """A task that notes the items it is asked to compute."""

    task: Any
    log: Path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def measure(self, engine, start, stop, settings):
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{(stop - start) * len(settings)}\n")
        return self.task.measure(engine, start, stop, settings)


def work(model: Any, folder: Path) -> None:
    """Evaluate into a run folder, from where it was left."""
    evaluation.BATCH = BATCH
    store = open_run(folder, {"seed": 0})
    tasks = [Counted(task, folder / "computed") for task in TASKS]
    report = evaluate(model, tasks, SETTINGS, context=model.identity, store=store)
    write_results(folder, report, summary={"complete": True})
    store.close()


def attempt(model: Any, folder: Path) -> int:
    """Return the process id of an attempt that has begun."""
    child = os.fork()
    if child:
        return child
    try:
        work(model, folder)
    finally:
        os._exit(0 if (folder / "summary.json").exists() else 1)


def main(place: Path, kills: int, seed: int) -> None:
    """Run once in peace and once with kills; print what happened as JSON."""
    model = tiny_model("llama", chat=True)
    begun = time.monotonic()
    os.waitpid(attempt(model, place / "calm"), 0)
    seconds = time.monotonic() - begun
    whole = (place / "calm" / "items.jsonl").stat().st_size
    draws = random.Random(seed)
    targets = sorted(draws.uniform(0, 0.97) * whole for _ in range(kills))
    items, landed = place / "hard" / "items.jsonl", 0
    for target in targets:
        child = attempt(model, place / "hard")
        while not (items.exists() and items.stat().st_size >= target) and not (place / "hard/summary.json").exists():
            time.sleep(0.0005)
        time.sleep(draws.uniform(0, 2 * seconds / (len(SETTINGS) * 11)))
        # Who has ended already is not reaped yet, so that the number is still its own.
        os.kill(child, signal.SIGKILL)
        landed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    os.waitpid(attempt(model, place / "hard"), 0)
    sys.stdout.write(json.dumps({"landed": landed, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
