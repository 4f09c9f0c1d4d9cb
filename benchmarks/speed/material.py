"""What all contenders are given: prompts, their tokens, one steering vector; made once by the parent, in files.

Prompts come from ../shared/data (or $STEERSMAN_DATA) where that is there: harmful and harmless instructions, MMLU's
questions. Else the built-in sets are repeated with variations.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import steersman as sm
from steersman.maths.geometry import unit
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.prompts import Question, prompt_set, questions
from steersman.tasks.knowledge import letter_options, letter_prompt

ROOT = Path(__file__).parents[2]
STRENGTH = 0.3
"""Length of the vector, in mean residual norms at its site."""
EXAMPLES = 5
CHECKED = 6
"""Questions whose letters are compared before anything is timed."""


@dataclass(frozen=True)
class Material:
    """The files by work, and what the parent itself needs to know.

    Args:
        files: one JSON file for each work.
        tokens: of each work's rows.
        tokenizer: the model's, to read what was written.
        config: the model's.
        layer: 0-based block behind which the vector is added.
        name: the model's.
        origin: where the prompts come from, in words.
        missing: why a work cannot be run, by work.
    """

    files: dict[str, Path]
    tokens: dict[str, list[list[int]]]
    tokenizer: Any
    config: Any
    layer: int
    name: str
    origin: str
    missing: dict[str, str]


def make(model: sm.Model, folder: Path, sizes: dict[str, int]) -> Material:
    """Write the material of every work and return where it is.

    Args:
        model: float32.
        folder: where the files go.
        sizes: rows by work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("STEERSMAN_DATA", ROOT.parent / "shared" / "data"))
    layer = model.depth // 2
    vector_file, norm = write_vector(model, layer, folder)
    common = {
        "layer": layer,
        "norm": norm,
        "vector_file": str(vector_file),
        "stops": sorted(model.stop_tokens),
        "out": "",
    }
    parts = chats(model, data, sizes) | scorings(model, data, sizes) | answered(model, sizes) | studied(model, sizes)
    missing = {work: f"there is no {data.name}/mmlu/dev.jsonl" for work in ("score5",) if work not in parts}
    files = {}
    for work, part in parts.items():
        files[work] = folder / f"{work}.json"
        files[work].write_text(json.dumps(common | part), encoding="utf-8")
    return Material(
        files=files,
        tokens={work: part["tokens"] for work, part in parts.items()},
        tokenizer=model.tokenizer,
        config=model.hf.config,
        layer=layer,
        name=model.name,
        origin="instructions and MMLU of the data folder" if data.is_dir() else "built-in sets with variations",
        missing=missing,
    )


def write_vector(model: sm.Model, layer: int, folder: Path) -> tuple[Path, float]:
    """Write the raw vector that coefficient 1 adds; return its file and the mean residual norm at its site."""
    direction = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal")[:32], layers=[layer]))
    (site,) = direction.sites
    path = folder / "vector.npy"
    np.save(path, (unit(direction.vectors[site]) * direction.norms[site] * STRENGTH).float().numpy())
    return path, direction.norms[site]


def chats(model: sm.Model, data: Path, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return the prompts that stand in the chat template: for recording and for writing."""
    harmful = lines(data / "safety" / "harmful_train.jsonl")
    harmless = lines(data / "safety" / "harmless_train.jsonl")
    builtin = [pair.positive.prompt for pair in sm.pairs("refusal", split=None)]
    half = sizes["record"] // 2
    read = several(harmful or builtin, half) + several(harmless or builtin, sizes["record"] - half)
    written = several(lines(data / "safety" / "harmless_val.jsonl") or builtin, sizes["generate"])
    return {work: chat(model, prompts) for work, prompts in {"record": read, "generate": written}.items()}


def chat(model: sm.Model, prompts: list[str]) -> dict[str, Any]:
    tokens = [prompt_tokens(model, prompt) for prompt in prompts]
    texts = [model.tokenizer.decode(row, skip_special_tokens=False) for row in tokens]
    return {"prompts": prompts, "texts": texts, "tokens": tokens}


def scorings(model: sm.Model, data: Path, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return MMLU's questions as plain text, without examples and with five."""
    if (data / "mmlu" / "dev.jsonl").is_file():
        items = questions(data / "mmlu" / "test.jsonl", split=None)
        examples = questions(data / "mmlu" / "dev.jsonl", split=None)
    else:
        items, examples = questions(split=None), []
    parts = {name: lettered(model, several(items, sizes[name]), []) for name in ("score0", "curve")}
    # Short ones of unlike length: agreement is checked in float32, which is slow.
    by_length = sorted(parts["score0"]["prompts"], key=len)
    short = by_length[: max(CHECKED, len(by_length) // 3)]
    chosen = {short[place * len(short) // CHECKED] for place in range(CHECKED)}
    kept = [item for item, prompt in zip(items, parts["score0"]["prompts"], strict=False) if prompt in chosen]
    parts["check"] = lettered(model, kept, [])
    if examples:
        parts["score5"] = lettered(model, dense(items, sizes["score5"]), examples)
    return parts


def lettered(model: sm.Model, items: Sequence[Question], examples: Sequence[Question]) -> dict[str, Any]:
    shots: dict[str, list[Question]] = {}
    for example in examples:
        shots.setdefault(example.subject, []).append(example)
    prompts = [letter_prompt(item, shots.get(item.subject, [])[:EXAMPLES], "plain") for item in items]
    options = letter_options(items[0], "plain")
    letters = [completion_tokens(model, option) for option in options]
    if any(len(letter) != 1 for letter in letters):
        raise SystemExit(f"expected a tokenizer that reads each of {options} as one token, got {letters}")
    return {
        "prompts": prompts,
        "tokens": [prompt_tokens(model, prompt, chat=False) for prompt in prompts],
        "options": options,
        "letters": [letter for (letter,) in letters],
        "items": [raw(item) for item in items],
        "examples": [raw(example) for example in examples],
        "shots": EXAMPLES if examples else 0,
    }


def raw(item: Question) -> dict[str, Any]:
    return {
        "subject": item.subject,
        "question": item.question,
        "choices": list(item.choices),
        "answer": item.answer,
    }


def answered(model: sm.Model, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return distinct prompts with answers, so that nothing can be shared between rows."""
    found = {pair.positive.prompt: pair.positive.completion for pair in sm.pairs("refusal", split=None)}
    prompts = several(list(found), sizes["overhead"])
    answers = several(list(found.values()), sizes["overhead"])
    return {"overhead": chat(model, prompts) | {"answers": answers}}


STUDIED = {"harmful": 60, "ordinary": 60, "over-refusal": 30, "knowledge": 96}
"""Held-out rows of each set in the quick refusal study."""


def studied(model: sm.Model, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return the built-in pairs and sets that the quick refusal study reads, or one in so many of them."""
    part = sizes["study"]
    texts = [side.prompt for pair in sm.pairs("refusal") for side in (pair.positive, pair.negative)]
    prompts = [
        item.prompt
        for name in ("harmful", "ordinary", "over-refusal")
        for item in prompt_set(name)[: STUDIED[name]][::part]
    ]
    found = questions()[: STUDIED["knowledge"]][::part]
    return {
        "study-record": chat(model, texts[: len(texts) // (2 * part) * 2]),
        "study-write": chat(model, prompts),
        "study-knowledge": lettered(model, found, []),
    }


def lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()]


WHOLE = 500
"""Questions of the whole work, which are spread over the subjects that there are; a smaller work takes fewer subjects
with as many questions of each."""


def dense(items: Sequence[Question], count: int) -> list[Question]:
    """Return so many questions, as many of each subject as 500 hold, of subjects taken evenly from the sorted list."""
    by_subject: dict[str, list[Question]] = {}
    for item in items:
        by_subject.setdefault(item.subject, []).append(item)
    each = WHOLE // len(by_subject)
    full = [rows[:each] for _, rows in sorted(by_subject.items()) if len(rows) >= each]
    wanted = min(len(full), -(-count // max(1, each)))
    chosen = [item for place in range(wanted) for item in full[(2 * place + 1) * len(full) // (2 * wanted)]]
    return several(chosen or items, count)


def several(rows: Sequence[Any], count: int) -> list[Any]:
    """Return so many rows; where there are fewer, prompts come again with a number, questions with another wording."""
    found = list(rows[:count])
    for turn in range(1, -(-count // len(rows))):
        for row in rows[: count - len(found)]:
            if isinstance(row, Question):
                question = f"Question {turn + 1}. {row.question}"
                found.append(Question(f"{row.id}-{turn}", row.subject, question, row.choices, row.answer))
            else:
                found.append(f"({turn + 1}) {row}")
    return found
