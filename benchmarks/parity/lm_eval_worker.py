"""Ask MMLU's questions with lm-evaluation-harness itself and write what every letter's log-probability came to.

Started by `mmlu.py`; uses nothing of steersman. The task files it makes are ordinary ones of the harness, offline: one
task for each subject, whose examples are the first five of the subject in `dev.jsonl`.

    python lm_eval_worker.py MODEL_FOLDER DATA_FOLDER SHOTS OUT.jsonl [SUBJECT ...]
"""

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

QUESTION = "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"


def write_tasks(data: Path, folder: Path, shots: int, subjects: list[str]) -> list[str]:
    """Write a task file and its data for each subject; return the tasks' names."""
    rows: dict[str, dict[str, list[dict]]] = {"test": defaultdict(list), "dev": defaultdict(list)}
    for split, by_subject in rows.items():
        for number, line in enumerate((data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(), start=1):
            record = json.loads(line)
            by_subject[record["subject"]].append({"number": number} | record)
    names = []
    for subject in subjects or sorted(rows["test"]):
        files = {}
        for split, by_subject in rows.items():
            files[split] = folder / f"{subject}.{split}.jsonl"
            files[split].write_text("".join(json.dumps(row) + "\n" for row in by_subject[subject]), encoding="utf-8")
        task = {
            "task": f"local_mmlu_{subject}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {split: str(path) for split, path in files.items()}},
            "test_split": "test",
            "fewshot_split": "dev",
            "fewshot_config": {"sampler": "first_n"},
            "num_fewshot": shots,
            "output_type": "multiple_choice",
            "description": "The following are multiple choice questions (with answers) about "
            f"{subject.replace('_', ' ')}.\n\n",
            "doc_to_text": QUESTION,
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}],
        }
        (folder / f"{subject}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
        names.append(task["task"])
    return names


def main() -> None:
    """Run the tasks and write one line an item: its number, the letters' log-probabilities, right or not.

    The number is the item's line in the file, or what stands there as `number`.
    """
    model, data, shots, out = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    # A task at a time, so that what is finished stays when the worker is ended.
    done = {json.loads(line)["number"] for line in out.read_text().splitlines()} if out.exists() else set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = write_tasks(data, folder, shots, sys.argv[5:])
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        lm = None
        for task in tasks:
            numbers = {
                json.loads(line)["number"]
                for line in (folder / f"{task.removeprefix('local_mmlu_')}.test.jsonl").read_text().splitlines()
            }
            if numbers <= done:
                continue
            if lm is None:
                from lm_eval.models.huggingface import HFLM

                lm = HFLM(pretrained=model, dtype="float32", batch_size=1, device="cpu")
            results = simple_evaluate(model=lm, tasks=[task], task_manager=manager, bootstrap_iters=0)
            lines = []
            for sample in results["samples"][task]:
                letters = [response[0][0] for response in sample["resps"]]
                record = {"number": sample["doc"]["number"], "letters": letters, "right": bool(sample["acc"])}
                lines.append(json.dumps(record) + "\n")
            with out.open("a", encoding="utf-8") as file:
                file.writelines(lines)
            print(task, results["results"][task]["acc,none"], flush=True)


if __name__ == "__main__":
    main()
