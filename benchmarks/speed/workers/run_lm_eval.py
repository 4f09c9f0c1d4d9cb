"""lm-evaluation-harness's `steered` model with its defaults (batch size 1), asked through `simple_evaluate`.

The model is loaded once; for each coefficient only what its hook adds is replaced, as its constructor would make it
from a file: the cheapest way there is. The tasks are read from disk once, before the clock starts.
"""

import json
import logging
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from common import Contender, serve
from lm_eval import simple_evaluate
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.tasks import TaskManager

QUESTION = "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"


class Harness(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self.folder, self.dtype = folder, dtype
        self.lm: SteeredModel | None = None
        self.tasks: dict[str, tuple[TaskManager, list[Any]]] = {}

    def prepare(self, job: dict[str, Any]) -> None:
        """Load the model at the first request, which brings the vector that its constructor asks for, and the tasks."""
        self.hookpoint = f"layers.{job['layer']}"
        if self.lm is None:
            step = {"steering_vector": job["vector"], "steering_coefficient": 1.0, "action": "add"}
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "steering.pt"
                torch.save({self.hookpoint: step}, path)
                dtype = str(self.dtype).removeprefix("torch.")
                self.lm = SteeredModel(self.folder, str(path), device="cpu", dtype=dtype)
        key = f"{job['file']}:{len(job['items'])}"
        if key not in self.tasks:
            self.tasks[key] = read_tasks(job)
        self.manager, self.chosen = self.tasks[key]

    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values, read, inside = [], [[] for _ in job["items"]], 0.0
        asked = self.lm.loglikelihood

        def timed(requests: list[Any], *arguments: Any, **settings: Any) -> Any:
            nonlocal inside
            begun = time.perf_counter()
            answers = asked(requests, *arguments, **settings)
            inside += time.perf_counter() - begun
            if job.get("full"):
                for request in requests:
                    read[request.doc["number"]] = list(self.lm._encode_pair(*request.args)[0])
            return answers

        self.lm.loglikelihood = timed
        try:
            for coefficient in job["coefficients"]:
                vector = job["vector"].to(self.dtype) * coefficient
                self.lm.hook_to_steer = {self.hookpoint: partial(SteeredModel.add, vector=vector, head_index=None)}
                values.append(self.once(len(job["items"])))
        finally:
            self.lm.loglikelihood = asked
        tokens = sum(map(len, job["tokens"])) * len(values)
        return {"values": values, "tokens": tokens, "model_seconds": inside, "read": read if job.get("full") else None}

    def once(self, count: int) -> list[list[float]]:
        """Return each item's letters' log-probabilities, nats, in the items' order."""
        found = simple_evaluate(model=self.lm, tasks=self.chosen, task_manager=self.manager, bootstrap_iters=0)
        rows: list[list[float]] = [[] for _ in range(count)]
        for samples in found["samples"].values():
            for sample in samples:
                rows[sample["doc"]["number"]] = [response[0][0] for response in sample["resps"]]
        return rows


def read_tasks(job: dict[str, Any]) -> tuple[TaskManager, list[Any]]:
    """Return a manager without the harness's own tasks, and a task for each subject with its first examples."""
    rows: dict[str, dict[str, list[Any]]] = {"test": defaultdict(list), "dev": defaultdict(list)}
    for number, item in enumerate(job["items"]):
        rows["test"][item["subject"]].append({"number": number} | item)
    for item in job["examples"]:
        rows["dev"][item["subject"]].append({"number": -1} | item)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [write_task(folder, subject, rows, job["shots"]) for subject in sorted(rows["test"])]
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        return manager, list(manager.load(names)["tasks"].values())


def write_task(folder: Path, subject: str, rows: dict[str, dict[str, list[Any]]], shots: int) -> str:
    """Write a subject's task file and data; return the task's name."""
    files = {}
    for split, by_subject in rows.items():
        if not by_subject[subject]:
            continue
        files[split] = str(folder / f"{subject}.{split}.jsonl")
        lines = [json.dumps(row) + "\n" for row in by_subject[subject]]
        Path(files[split]).write_text("".join(lines), encoding="utf-8")
    task = {
        "task": f"local_mmlu_{subject}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "output_type": "multiple_choice",
        "description": "The following are multiple choice questions (with answers) about "
        f"{subject.replace('_', ' ')}.\n\n",
        "doc_to_text": QUESTION,
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
    }
    if shots:
        task |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": shots}
    (folder / f"{subject}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return task["task"]


if __name__ == "__main__":
    serve(Harness)
