"""Accuracy must mean the same elsewhere: MMLU's questions by steersman and by lm-evaluation-harness, item by item.

python benchmarks/parity/mmlu.py                           0 and 5 shots, every question; hours on a CPU, but what is
                                                           finished stays, and the same command goes on
python benchmarks/parity/mmlu.py --shots 0 --limit 100     the file's first 100 questions, without examples
python benchmarks/parity/mmlu.py --shots 0 --harness FILE  what `lm_eval_worker.py` wrote into FILE, which was asked
                                                           about all questions; 0=FILE 5=FILE for several
python benchmarks/parity/mmlu.py --shots 0 --limit 20 --spoil     another prompt on our side: must fail

Both read the same text (MMLU's original, no chat template) in float32 and choose the likeliest of " A", " B", ... The
data are `test.jsonl` and `dev.jsonl` of ../shared/data/mmlu or $STEERSMAN_DATA/mmlu: `subject, question, choices,
answer`, one object a line. Exit code 1 when a letter's log-probability differs by more than the tolerance, when another
letter was chosen although no tie explains it, or when a question was asked by one side only.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from environments import ROOT

import steersman as sm
from steersman.files.log import Log
from steersman.maths.statistics import wilson
from steersman.model.sources import resolve
from steersman.prompts import Question, content_hash, questions
from steersman.tasks import KnowledgeTask, Setting
from steersman.tasks.knowledge import LETTERS, MOST_SHOTS

TOLERANCE = 1e-3
"""Largest difference of a log-probability, nats; float32 sums of another order differ by some 1e-5."""
CHUNK = 32
"""Questions between two writes."""


@dataclass(frozen=True)
class Answer:
    """What one side made of a question: its letters' log-probabilities, nats, and whether the likeliest is right."""

    letters: tuple[float, ...]
    right: bool

    @property
    def chosen(self) -> int:
        return max(range(len(self.letters)), key=lambda i: self.letters[i])

    @property
    def margin(self) -> float:
        """How far the likeliest letter is ahead of the second, nats."""
        first, second, *_ = sorted(self.letters, reverse=True)
        return first - second


Answers = dict[int, Answer]
"""By the question's line in the file, from 1."""


def main() -> int:
    arguments = parse()
    data = arguments.data or Path(os.environ.get("STEERSMAN_DATA", ROOT.parent / "shared" / "data")) / "mmlu"
    if not (data / "test.jsonl").is_file() or not (data / "dev.jsonl").is_file():
        raise SystemExit(f"expected test.jsonl and dev.jsonl in {data}; give the folder with --data")
    torch.set_num_threads(arguments.threads)
    chosen = choose(questions(data / "test.jsonl", split=None), arguments.subjects, arguments.limit)
    examples = questions(data / "dev.jsonl", split=None)
    model = sm.load(arguments.model, dtype="float32", device="cpu")
    given = finished(arguments)
    results = []
    for shots in arguments.shots:
        if shots in given:
            theirs = read_harness(given[shots])
        else:
            theirs = ask_harness(arguments.model, data, chosen, shots, arguments.out)
        if not theirs.keys() & chosen.keys():
            raise SystemExit(f"expected answers of the harness to these questions with {shots} shots, got none")
        ours = ask(model, chosen, examples, shots, arguments)
        results.append(compare(chosen, ours, theirs) | {"shots": shots})
    passed = all(result["ok"] for result in results)
    if arguments.json:
        print(json.dumps({"model": model.name, "tolerance": TOLERANCE, "passed": passed, "rows": results}))
    else:
        for result in results:
            show(model.name, result)
        print(f"{'passed' if passed else 'FAILED'}: tolerance {TOLERANCE:g} nats")
    return 0 if passed else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 5], choices=range(MOST_SHOTS + 1), metavar="N")
    parser.add_argument("--limit", type=int, help="so many questions, from the file's beginning")
    parser.add_argument("--subjects", nargs="+", default=[], help="only these")
    parser.add_argument("--harness", nargs="+", default=[], metavar="[SHOTS=]FILE", help="finished files of the worker")
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", type=Path, help="folder of test.jsonl and dev.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / ".peers" / "mmlu", help="where answers are kept")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--spoil", action="store_true", help="ask otherwise on our side, to see the check fail")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def finished(arguments: argparse.Namespace) -> dict[int, list[Path]]:
    """Return the worker's files by shots."""
    found: dict[int, list[Path]] = {}
    for text in arguments.harness:
        shots, parted, path = text.partition("=")
        if not parted and len(arguments.shots) == 1:
            shots, path = str(arguments.shots[0]), text
        if not shots.isdigit() or not Path(path).is_file():
            raise SystemExit(f"expected a file of the worker as SHOTS=FILE, such as 5=answers.jsonl, got {text!r}")
        found.setdefault(int(shots), []).append(Path(path))
    return found


def choose(items: Sequence[Question], subjects: Sequence[str], limit: int | None) -> dict[int, Question]:
    """Return the questions that are asked, by their line."""
    wanted = {
        number: item for number, item in enumerate(items, start=1) if not subjects or item.subject in set(subjects)
    }
    if not wanted:
        raise SystemExit(f"expected subjects of the file, got {', '.join(subjects)}")
    return dict(list(wanted.items())[:limit])


def ask(
    model: sm.Model,
    chosen: dict[int, Question],
    examples: Sequence[Question],
    shots: int,
    arguments: argparse.Namespace,
) -> Answers:
    """Return steersman's answers; those that are in the file are not asked again."""
    if arguments.spoil:
        chosen = {number: replace(item, choices=(*item.choices[:-1], "?")) for number, item in chosen.items()}
    answers: Answers = {}
    by_subject: dict[str, list[int]] = {}
    for number in sorted(chosen, key=lambda number: (chosen[number].subject, len(chosen[number].question))):
        by_subject.setdefault(chosen[number].subject, []).append(number)
    log = Log(arguments.out / f"steersman-{shots}.jsonl", "mmlu-answers", 1)
    known = {record["key"]: record for record in log.records}
    for subject, numbers in by_subject.items():
        own = [example for example in examples if example.subject == subject]
        task = KnowledgeTask(
            [chosen[number] for number in numbers], form="plain", scoring=("letter",), shots=shots, examples=own
        )
        keys = [address(model, task, item) for item in task.items]
        missing = [i for i, key in enumerate(keys) if key not in known]
        task = replace(task, items=[task.items[i] for i in missing])
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            (outcomes,) = task.measure(model, start, start + len(part), [Setting("unsteered")])
            for i, outcome in zip(part, outcomes, strict=True):
                letters, right = outcome.details["letter_logprobs"], bool(outcome.metrics["accuracy_letter"])
                record = {"key": keys[i], "number": numbers[i], "letters": letters, "right": right}
                log.append(record)
                known[keys[i]] = record
        for number, key in zip(numbers, keys, strict=True):
            answers[number] = Answer(tuple(known[key]["letters"]), known[key]["right"])
        print(f"{subject}, {shots} shots: {len(numbers)} answers of steersman", file=sys.stderr, flush=True)
    log.close()
    return answers


def address(model: sm.Model, task: KnowledgeTask, item: Question) -> str:
    """Return what an answer depends on, hashed; that of an answer to anything else is another."""
    text = f"{model.revision}|{model.dtype}|{task.settings_key()}|{content_hash([replace(item, id='')])}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_harness(paths: Sequence[Path]) -> Answers:
    answers: Answers = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            answers[record["number"]] = Answer(tuple(record["letters"]), record["right"])
    return answers


def ask_harness(name: str, data: Path, chosen: dict[int, Question], shots: int, out: Path) -> Answers:
    """Return the harness's answers; it runs in a process of its own and leaves out the subjects it has finished."""
    if importlib.util.find_spec("lm_eval") is None:
        raise SystemExit("expected lm-evaluation-harness; pip install 'steersman[lm-eval]', or give --harness FILE")
    lines = (data / "test.jsonl").read_text(encoding="utf-8").splitlines()
    source = resolve(name)
    if source.kind == "gguf":
        raise SystemExit(f"expected a model that the harness can load, got the GGUF file {name}")
    weights = str(source.path or source.id)
    out.mkdir(parents=True, exist_ok=True)
    # Another model, other questions or other examples: another file.
    content = content_hash(list(chosen.values())) + (data / "dev.jsonl").read_text(encoding="utf-8") + weights
    file = out / f"harness-{shots}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        part = [json.dumps({"number": number} | json.loads(lines[number - 1])) for number in chosen]
        (Path(folder) / "test.jsonl").write_text("\n".join(part) + "\n", encoding="utf-8")
        (Path(folder) / "dev.jsonl").write_bytes((data / "dev.jsonl").read_bytes())
        worker = Path(__file__).with_name("lm_eval_worker.py")
        # Without -P the worker would find this folder's files before the harness's own modules.
        subprocess.run(
            [sys.executable, "-P", worker, weights, folder, str(shots), file],
            check=True,
            stdout=sys.stderr,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        )
    return read_harness([file])


def compare(chosen: dict[int, Question], ours: Answers, theirs: Answers) -> dict[str, object]:
    """Return how far the two agree, with every question on which they do not."""
    both = [number for number in chosen if number in ours and number in theirs]
    unlike = [number for number in both if ours[number].chosen != theirs[number].chosen]
    differences = {number: difference(ours[number], theirs[number]) for number in both}
    far = [number for number in both if differences[number] > TOLERANCE]
    ties = [number for number in unlike if ours[number].margin + theirs[number].margin <= 2 * TOLERANCE]
    return {
        "asked": len(chosen),
        "compared": len(both),
        "same_right_or_wrong": sum(ours[number].right == theirs[number].right for number in both),
        "same_letter": len(both) - len(unlike),
        "max_difference": max(differences.values()),
        "median_difference": sorted(differences.values())[len(both) // 2],
        "smallest_margin": min(ours[number].margin for number in both),
        "beyond_tolerance": len(far),
        "unlike": [
            {
                "line": number,
                "subject": chosen[number].subject,
                "steersman": ours[number].letters,
                "harness": theirs[number].letters,
                "margin": ours[number].margin,
                "difference": differences[number],
                "tie": number in ties,
            }
            for number in unlike
        ],
        "accuracy": {
            side: vars(wilson(sum(answers[number].right for number in both), len(both)))
            for side, answers in (("steersman", ours), ("harness", theirs))
        },
        "ok": len(both) == len(chosen) and not far and len(ties) == len(unlike),
    }


def difference(one: Answer, other: Answer) -> float:
    return max(abs(a - b) for a, b in zip(one.letters, other.letters, strict=True))


def show(name: str, result: dict) -> None:
    print(f"{name}, float32, MMLU, {result['shots']} shots: steersman against lm-evaluation-harness")
    print(f"  questions compared      {result['compared']} of {result['asked']}")
    print(f"  equally right or wrong  {result['same_right_or_wrong']}")
    print(f"  same letter             {result['same_letter']}")
    print(
        f"  log-probabilities       differ by at most {result['max_difference']:.1e}, mostly "
        f"{result['median_difference']:.1e} nats; {result['beyond_tolerance']} questions beyond the tolerance"
    )
    print(f"  closest two letters     {result['smallest_margin']:.1e} nats apart")
    for side, rate in result["accuracy"].items():
        print(f"  accuracy, {side:13s} {rate['value']:.2%} ({rate['low']:.2%} to {rate['high']:.2%}, n = {rate['n']})")
    for each in result["unlike"]:
        why = "a tie: closer than rounding" if each["tie"] else "UNEXPLAINED"
        print(f"  line {each['line']} ({each['subject']}): {why}; margin {each['margin']:.1e} nats")
        for side in ("steersman", "harness"):
            values = "  ".join(f"{letter} {value:.6f}" for letter, value in zip(LETTERS, each[side], strict=False))
            print(f"    {side:10s} {values}")


if __name__ == "__main__":
    sys.exit(main())
