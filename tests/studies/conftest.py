"""A tiny model in a folder and a study small enough to be run, killed and run again in a test."""

import json
from pathlib import Path

import pytest
import yaml

from steersman.studies import read_config
from tiny import tiny_network, tokenizer

SMALL = {
    "selection": {"stride": 1, "prompts": 4, "shortlist": 1},
    "learning": {"steps": 3, "batch_size": 2, "tokens": 4},
    "sweep": {"relative": [0.5], "raw": [-1, 2], "honesty": [0.2], "random": [1.0]},
    "generation": {"max_new_tokens": 4},
    "limits": {"harmful": 4, "ordinary": 4, "over-refusal": 3, "knowledge": 4, "prose": 3, "validation": 4},
}


def write_lines(path: Path, records: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """The path of a study file on a tiny model, with small sets of its own."""
    folder = tmp_path_factory.mktemp("study")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer(chat=True).save_pretrained(folder / "model")
    pairs = [
        {
            "positive": {"prompt": f"Break {i}", "completion": "No, I won't."},
            "negative": {"prompt": f"Mend {i}", "completion": "Yes, so:"},
            "compliance": "Sure, so:",
        }
        for i in range(10)
    ]
    candid = [
        {
            "positive": {"prompt": f"Is {i} big?", "completion": "It is small."},
            "negative": {"prompt": f"Is {i} big?", "completion": "Oh so big!"},
        }
        for i in range(10)
    ]
    prompts = [{"prompt": f"Tell me of {i}."} for i in range(5)]
    asked = [{"question": f"{i}+1?", "choices": ["1", "22", "3", "40"], "answer": i % 4} for i in range(5)]
    texts = [{"text": f"The hen laid {i} eggs."} for i in range(4)]
    sets = {
        "refusal-pairs": write_lines(folder / "pairs.jsonl", pairs),
        "honesty-pairs": write_lines(folder / "candid.jsonl", candid),
        "harmful": write_lines(folder / "harmful.jsonl", prompts),
        "ordinary": write_lines(folder / "ordinary.jsonl", prompts),
        "over-refusal": write_lines(folder / "over.jsonl", prompts),
        "knowledge": write_lines(folder / "knowledge.jsonl", asked),
        "prose": write_lines(folder / "prose.jsonl", texts),
    }
    changes = {f"{part}.{name}": value for part, values in SMALL.items() for name, value in values.items()}
    overrides = {"model": str(folder / "model"), "dtype": "float32", **changes}
    config = read_config("refusal", overrides=overrides, sets=sets).plain()
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
