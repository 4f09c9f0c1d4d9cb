"""Tasks of lm-evaluation-harness written into a folder: small, ours, offline; one for each kind of answer."""

import json
from pathlib import Path
from typing import Any

import yaml

QUESTIONS = (
    ("What is 2 + 2?", ("3", "4", "5"), 1),
    ("Which animal barks?", ("dog", "cat", "goldfish"), 0),
    ("Which is a colour?", ("seven", "loud", "blue"), 2),
    ("How many legs has a spider?", ("eight", "six", "four"), 0),
    ("Which word means glad?", ("sad", "happy", "tall"), 1),
    ("Frozen water is called", ("ice", "steam", "sand"), 0),
    ("The opposite of up is", ("left", "down", "over"), 1),
)
TEXTS = ("The fox ran over the hill.", "Snow fell. It was cold, and nobody came.", "2 + 2 = 4", "A" * 40)
WISHES = (("Say yes:", "yes"), ("Count:", "1, 2"), ("Tell me more:", "more"), ("Name a fox:", "Reynard"))

CHOICE: dict[str, Any] = {
    "task": "local_choice",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "answer",
    "doc_to_choice": "choices",
    "fewshot_split": "test",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}
ROLLING: dict[str, Any] = {
    "task": "local_rolling",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
}
WRITING: dict[str, Any] = {
    "task": "local_writing",
    "output_type": "generate_until",
    "doc_to_text": "{{wish}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["e", "\n\n"], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def write_tasks(folder: Path, *tasks: dict[str, Any]) -> Path:
    """Write task files and their data into a folder; return it."""
    rows = {
        "local_choice": [{"question": q, "choices": list(c), "answer": a} for q, c, a in QUESTIONS],
        "local_rolling": [{"text": text} for text in TEXTS],
        "local_writing": [{"wish": wish, "answer": answer} for wish, answer in WISHES],
    }
    for task in tasks or (CHOICE, ROLLING, WRITING):
        kind = str(task.get("data", task["task"]))
        data = folder / f"{kind}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[kind]), encoding="utf-8")
        own = {key: value for key, value in task.items() if key != "data"}
        where = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
            "test_split": "test",
            "metadata": {"version": 1.0},
        }
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(own | where), encoding="utf-8")
    return folder
