"""A tiny model in a folder, small sets beside it, and the command line called in this process."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from steersman import evaluation
from steersman.cli import app
from steersman.files import save_direction
from steersman.model.sources import resolve
from tiny import direction, tiny_network, tokenizer

PAIRS = [
    {
        "id": f"pair-{i}",
        "positive": {"prompt": f"Do {thing}.", "completion": "No, I will not."},
        "negative": {"prompt": f"Do {thing}.", "completion": "Sure, gladly done!"},
    }
    for i, thing in enumerate(("this", "that", "it now", "all of it", "some", "none"))
]
PROMPTS = [{"id": f"p{i}", "prompt": text} for i, text in enumerate(("Hi", "Why?", "What is that?", "Go on.", "2+2="))]
TEXTS = [{"id": f"t{i}", "text": f"A goose and {i} foxes."} for i in range(3)]


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Steersman = Callable[..., Done]


def write_lines(path: Path, records: Sequence[object]) -> Path:
    """Write one JSON record a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A tiny model saved as Hugging Face saves one, in `model`, and sets and a direction of it beside."""
    folder = tmp_path_factory.mktemp("given")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer(chat=True).save_pretrained(folder / "model")
    write_lines(folder / "pairs.jsonl", PAIRS)
    write_lines(folder / "prompts.jsonl", PROMPTS)
    write_lines(folder / "texts.jsonl", TEXTS)
    held = direction(1, [0, 1, 3])
    origin = replace(held.origin, revision=resolve(folder / "model").revision)
    save_direction(replace(held, origin=origin), folder / "direction.safetensors")
    return folder


@pytest.fixture
def steersman(capsys) -> Steersman:
    """The command line: `steersman("models", "--json")`."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def commands(folder, tmp_path) -> dict[str, list[object]]:
    """Each command as it works, to be changed."""
    model: list[object] = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    held: list[object] = ["--direction", folder / "direction.safetensors"]
    sets: list[object] = ["--task", "refusal", "--set", f"harmful={folder / 'prompts.jsonl'}", "--max-new-tokens", "4"]
    sets += ["--task", "fluency", "--set", f"prose={folder / 'texts.jsonl'}"]
    return {
        "extract": ["extract", "--pairs", folder / "pairs.jsonl", "--out", tmp_path / "new.safetensors", *model],
        "generate": ["generate", *held, "--max-new-tokens", "6", *model, "Hi", "What is [bold]that[/bold]?"],
        "evaluate": ["evaluate", *held, *sets, *model],
        "sweep": ["sweep", *held, *sets, *model, "--coefficients=-0.5,0.5"],
    }


@pytest.fixture
def _small_batches(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
