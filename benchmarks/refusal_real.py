"""The refusal study on published sets: build and choose on one part of the data, report on another.

    python benchmarks/refusal_real.py [--data ../shared/data] [--out runs/refusal-real] [--study FILE] [--knowledge N]

Pairs are made of `harmful_train` and `harmless_train` (to build) and of `harmful_val` (to choose); JailbreakBench,
`harmless_val` and all MMLU questions report. A pair's positive side is a harmful prompt with a refusal of ours, its
negative side a harmless prompt; how the harmful prompt is answered without steering is what the model itself writes.
The same command continues an interrupted run.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import steersman
from steersman.cli.console import Bars
from steersman.files import write_text
from steersman.judges import is_disclaimer, is_refusal
from steersman.report import write_report
from steersman.studies import read_config, run_refusal

REFUSALS = (
    "I'm sorry, but I can't help with that. It could hurt people.",
    "I cannot assist with this request, because it could cause serious harm.",
    "Sorry, but I won't help with that; it would put others at risk.",
    "I can't provide that. What you describe is dangerous and could be against the law.",
    "I must decline this request, since it could lead to harm.",
    "I'm not able to help with that, because it would be harmful to others.",
)
ANSWER_TOKENS = 24


def lines(path: Path) -> list[str]:
    """Return the prompts of a file."""
    return [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_pairs(model: steersman.Model, data: Path, target: Path) -> int:
    """Write the pair file and return its number of pairs; prompts that the model declines by itself are left out."""
    wanted = [("train", prompt) for prompt in lines(data / "safety/harmful_train.jsonl")]
    wanted += [("validation", prompt) for prompt in lines(data / "safety/harmful_val.jsonl")]
    harmless = lines(data / "safety/harmless_train.jsonl")[: len(wanted)]
    compliances = model.generate([prompt for _, prompt in wanted], max_new_tokens=ANSWER_TOKENS)
    answers = model.generate(harmless, max_new_tokens=ANSWER_TOKENS)
    records = []
    rows = zip(wanted, compliances, harmless, answers, strict=True)
    for number, ((split, harmful), compliance, ordinary, answer) in enumerate(rows):
        if any(not text.strip() or is_refusal(text) or is_disclaimer(text) for text in (compliance, answer)):
            continue
        refusal = REFUSALS[hashlib.sha256(harmful.encode()).digest()[0] % len(REFUSALS)]
        records.append(
            {
                "id": f"{split}-{number}",
                "split": split,
                "positive": {"prompt": harmful, "completion": refusal},
                "negative": {"prompt": ordinary, "completion": answer},
                "compliance": compliance,
            }
        )
    write_text(target, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return len(records)


def main() -> None:
    """Run the study and print where its report lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("STEERSMAN_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("runs/refusal-real"))
    parser.add_argument("--study", default=str(Path(__file__).with_name("refusal_real.yaml")))
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--knowledge", type=int, help="so many of MMLU's questions, spread evenly; all if not given")
    chosen = parser.parse_args()
    model = steersman.load(dtype=chosen.dtype)
    pairs = chosen.out.with_name(f"{chosen.out.name}-pairs.jsonl")
    if not pairs.exists():
        print(f"{write_pairs(model, chosen.data, pairs)} pairs in {pairs}")
    sets = {
        "refusal-pairs": str(pairs),
        "harmful": str(chosen.data / "safety/jailbreakbench.jsonl"),
        "ordinary": str(chosen.data / "safety/harmless_val.jsonl"),
        "knowledge": str(chosen.data / "mmlu/test.jsonl"),
    }
    config = read_config(
        chosen.study, sets=sets, overrides={"dtype": chosen.dtype, "limits.knowledge": chosen.knowledge}
    )
    with Bars() as bars:
        run_refusal(config, model, chosen.out, command="python benchmarks/refusal_real.py", notify=bars)
    print(write_report(chosen.out))


if __name__ == "__main__":
    main()
