"""What steering costs: generation and scoring with and without a plan, alternating in one run, medians and ratios.

make bench                       the default model
python benchmarks/overhead.py --model FOLDER --rounds 9 --json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

import steersman as sm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each, after one that is not counted")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = sm.load(arguments.model, dtype=arguments.dtype)
    pairs = sm.pairs("refusal")
    direction = sm.MeanDifference().fit(sm.record(model, pairs[:8]))
    middle = sm.Plan(direction.at(model.depth // 2), coefficient=0.1)
    everywhere = sm.Plan(direction, coefficient=0.01)
    prompts = [pair.positive.prompt for pair in pairs[: arguments.rows]]
    answers = [pair.positive.completion for pair in pairs[: arguments.rows]]
    each = [middle.scaled(1 + row / 100) for row in range(len(prompts))]
    plans: dict[str, sm.Plan | list[sm.Plan]] = {
        "no plan": sm.Plan(),
        "one layer": middle,
        "one layer, a plan per row": each,
        "every layer": everywhere,
    }
    rows = []
    for work, run in {
        "generate": lambda plan: model.generate(prompts, plan, max_new_tokens=arguments.tokens),
        "score": lambda plan: model.score(prompts, answers, plan),
    }.items():
        times = timed({name: (lambda plan=plan, run=run: run(plan)) for name, plan in plans.items()}, arguments.rounds)
        base = times["no plan"]
        for name, seconds in times.items():
            ratios = [a / b for a, b in zip(seconds, base, strict=True)]
            rows.append(
                {
                    "work": work,
                    "plan": name,
                    "seconds": round(statistics.median(seconds), 4),
                    "ratio": round(statistics.median(ratios), 3),
                    "ratio_min": round(min(ratios), 3),
                    "ratio_max": round(max(ratios), 3),
                    "rounds": arguments.rounds,
                }
            )
    if arguments.json:
        print(
            json.dumps(
                {"model": model.name, "dtype": str(model.dtype), "threads": torch.get_num_threads(), "rows": rows}
            )
        )
        return
    print(
        f"{model.name}, {model.dtype}, {torch.get_num_threads()} threads, {len(prompts)} rows, "
        f"medians of {arguments.rounds}"
    )
    for row in rows:
        print(
            f"{row['work']:9s} {row['plan']:26s} {row['seconds']:8.3f} s   "
            f"{row['ratio']:.3f} of no plan ({row['ratio_min']:.3f} to {row['ratio_max']:.3f})"
        )


def timed(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return seconds by work, taken in turn so that a drift of the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(rounds + 1):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            if round_number:
                times[name].append(time.perf_counter() - begun)
    return times


if __name__ == "__main__":
    main()
