"""That all compute the same thing, before anything is timed: in float32, on a few prompts, against plain transformers.

Letters' log-probabilities under two coefficients of one vector; the text written under them; every layer's recording of
the last token. The topmost layer is compared only among those that read it at the same place: plain transformers'
`output_hidden_states` and repeng take it after the model's final norm, the others as the last block's output.
"""

from pathlib import Path
from typing import Any

import numpy as np
from material import CHECKED, Material
from team import Answer, RequestError, Team

REFERENCE = "plain"
LETTERS = 1e-3
"""Largest difference of a letter's log-probability, nats; sums in another order differ by some 1e-5."""
STATES = 1e-4
"""Largest difference of a recorded number, in the layer's mean L2 norm."""
NORMED = ("plain", "repeng")
COEFFICIENTS = [-0.5, 1.0]
PROMPTS = {"score": CHECKED, "generate": 4, "record": 4}
NEW_TOKENS = 16


def check(team: Team, material: Material, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each contender and kind of work: whether it agrees, and the difference in words."""
    rows = []
    for kind, file in {"score": "check", "generate": "generate", "record": "record"}.items():
        answers: dict[str, Answer] = {}
        for name, worker in list(team.workers.items()):
            request = {
                "work": kind,
                "file": str(material.files[file]),
                "limit": PROMPTS[kind],
                "coefficients": COEFFICIENTS,
                "new_tokens": NEW_TOKENS,
                "full": True,
                "out": str(folder / f"{name}.npy"),
            }
            try:
                answers[name] = worker.ask(request)
            except RequestError as reason:
                rows.append(row(kind, name, False, str(reason)))
                if worker.process.poll() is not None:
                    team.drop(name, str(reason))
        rows += judged(kind, answers, material)
    return rows


def judged(kind: str, answers: dict[str, Answer], material: Material) -> list[dict[str, Any]]:
    able = {name: answer for name, answer in answers.items() if "unsupported" not in answer}
    if REFERENCE not in able:
        return [row(kind, name, False, f"{REFERENCE} gave nothing to compare with") for name in able]
    tokens = material.tokens["check" if kind == "score" else kind][: PROMPTS[kind]]
    rows = []
    for name, answer in able.items():
        if answer.get("read") not in (None, tokens):
            rows.append(row(kind, name, False, "it reads other tokens"))
        elif kind == "score":
            rows.append(letters(name, answer, able[REFERENCE]))
        elif kind == "generate":
            rows.append(words(name, answer, able[REFERENCE], material))
        else:
            rows.append(states(name, able))
    return rows


def letters(name: str, answer: Answer, reference: Answer) -> dict[str, Any]:
    most = float(np.abs(np.array(answer["values"]) - np.array(reference["values"])).max())
    return row("score", name, most <= LETTERS, f"at most {most:.1e} nats apart", most, LETTERS)


def words(name: str, answer: Answer, reference: Answer, material: Material) -> dict[str, Any]:
    ours, theirs = texts(answer, material), texts(reference, material)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return row("generate", name, same == len(ours), f"{same} of {len(ours)} texts are the same")


def texts(answer: Answer, material: Material) -> list[str]:
    """Return what was written, whichever way it was told."""
    if "texts" in answer:
        return answer["texts"]
    return [material.tokenizer.decode(written, skip_special_tokens=True) for written in answer["written"]]


def states(name: str, answers: dict[str, Answer]) -> dict[str, Any]:
    """Return whether the recordings agree, the topmost layer's with the first that reads it at the same place."""
    own = np.load(answers[name]["out"])
    alike = next(other for other in answers if (other in NORMED) == (name in NORMED))
    other = np.concatenate([np.load(answers[REFERENCE]["out"])[:-1], np.load(answers[alike]["out"])[-1:]])
    if own.shape != other.shape:
        return row("record", name, False, f"its recordings have shape {own.shape}, not {other.shape}")
    scale = np.linalg.norm(other, axis=-1).mean(-1)[:, None, None]
    most = float((np.abs(own - other) / scale).max())
    top = "after the final norm" if name in NORMED else "the block's output"
    return row("record", name, most <= STATES, f"at most {most:.1e} of the norm apart; top layer: {top}", most, STATES)


def row(
    kind: str, name: str, agrees: bool, words: str, difference: float | None = None, tolerance: float | None = None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "contender": name,
        "agrees": agrees,
        "words": words,
        "difference": difference,
        "tolerance": tolerance,
    }
