"""Timings side by side in one run: steersman, plain transformers, repeng, steering-vectors, pyvene, nnsight, lm-eval.

python benchmarks/speed/run.py --quick                       about three minutes, to see that all works
python benchmarks/speed/run.py --only record --only score0   some works alone
python benchmarks/speed/run.py --json FILE --plot FILE.png   full size: hours on a CPU

Each contender runs in an environment of its own under `.peers`, made on the first run, in one process that loads the
model once. Before anything is timed, all must compute the same under the same vector, in float32; who does not is not
timed. Then they take turns, round by round. Told are medians, the ratio of the medians, and the least and the largest
ratio of any round; memory is the most that a process held resident during a request, the model and its libraries
included. All get token ids but steersman and lm-eval, which read the texts themselves, on the clock; so do repeng and
steering-vectors where they record.

Exit code 1 when a contender disagrees or breaks off. One that cannot be installed is told as unmeasured, with the
reason, and a missed target as missed; neither changes the exit code.
"""

import argparse
import gc
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import floor
import plot
import torch
import works
from material import ROOT, Material, make
from rich.console import Console
from team import CONTENDERS, Team, note
from works import Result

import report
import steersman as sm
from checking import check
from steersman.model.builtin import default_folder
from steersman.model.precision import resolve_dtype

WORKS = ("record", "score0", "score5", "generate", "study", "overhead", "curve")
WARM = {"limit": 4, "new_tokens": 2, "coefficients": [1.0]}
"""Of the round that is not counted."""
QUICK = {
    "rounds": 2,
    "coefficients": 3,
    "record_prompts": 16,
    "score0_items": 8,
    "score5_items": 2,
    "score5_coefficients": 2,
    "generate_prompts": 4,
    "new_tokens": 8,
    "study_part": 15,
    "study_tokens": 4,
    "overhead_rows": 16,
    "overhead_tokens": 4,
    "overhead_rounds": 2,
    "curve_coefficients": [1, 3, 9],
    "curve_prompts": [2, 4],
    "curve_rows": 2,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=WORKS, help="this work; may be given several times")
    parser.add_argument("--without", action="append", default=[], choices=CONTENDERS[2:], help="not this contender")
    parser.add_argument("--model", default="default", help="default, or a folder")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of each process; all cores where not given"
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each work")
    parser.add_argument("--quick", action="store_true", help="small sizes, over those given")
    parser.add_argument("--coefficients", type=int, default=9, help="of a sweep, where nothing else is said")
    parser.add_argument("--record-prompts", type=int, default=512, help="an even number")
    parser.add_argument("--score0-items", type=int, default=500)
    parser.add_argument("--score5-items", type=int, default=500)
    parser.add_argument("--score5-coefficients", type=int, default=9)
    parser.add_argument("--generate-prompts", type=int, default=80)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--study-part", type=int, default=1, help="one in so many of the refusal study's rows")
    parser.add_argument("--study-tokens", type=int, default=32)
    parser.add_argument("--overhead-rows", type=int, default=64)
    parser.add_argument("--overhead-tokens", type=int, default=32)
    parser.add_argument("--overhead-rounds", type=int, default=40, help="many: a few percent are to be told apart")
    parser.add_argument("--curve-coefficients", type=int, nargs="+", default=[1, 3, 9, 17, 33, 65])
    parser.add_argument("--curve-prompts", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--curve-rows", type=int, default=64, help="prompts where coefficients or layers grow")
    parser.add_argument("--limit", type=float, default=60.0, help="minutes that one run of one contender may take")
    parser.add_argument("--cache", type=Path, default=ROOT / ".peers", help="where the environments are made")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--plot", type=Path, help="draw a picture there")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    if arguments.record_prompts % 2 or min(arguments.record_prompts, arguments.rounds) < 1:
        parser.error("expected an even number of prompts to record and at least one round")
    return arguments


def main() -> int:
    arguments = parse()
    chosen = [work for work in WORKS if not arguments.only or work in arguments.only]
    dtype = str(resolve_dtype(arguments.dtype, torch.device("cpu"))).removeprefix("torch.")
    cache = arguments.cache.resolve()
    model = sm.load(arguments.model, dtype="float32", device="cpu")
    material = make(model, cache / "speed", sizes(arguments))
    folder = default_folder() if arguments.model == "default" else Path(arguments.model).resolve()
    # From here on the parent only waits: its model would be in the way of the others' memory.
    del model
    gc.collect()
    names = needed(chosen, arguments.without)
    settings = (cache, folder), (arguments.threads, 60 * arguments.limit)
    with ExitStack() as stack:
        team = stack.enter_context(Team(names, *settings[0], "float32", *settings[1]))
        note("checking that all compute the same, in float32")
        checks = check(team, material, cache / "speed")
        absent, broken = team.absent, team.broken
        if dtype != "float32":
            stack.close()
            names = [name for name in names if name not in absent]
            team = stack.enter_context(Team(names, *settings[0], dtype, *settings[1]))
            team.broken |= broken
        team.absent |= absent | dict.fromkeys(arguments.without, "it was left out by --without")
        found = taken(chosen, team, checks, material, arguments, dtype)
    report.show(found, Console(width=None if sys.stdout.isatty() else 150))
    fine = not team.broken and not found["failed"] and all(row["agrees"] for row in checks)
    return 0 if fine else 1


def taken(
    chosen: list[str],
    team: Team,
    checks: list[dict[str, Any]],
    material: Material,
    arguments: argparse.Namespace,
    dtype: str,
) -> dict[str, Any]:
    """Return the report of all works; it is also written after each, so that what is finished stays."""
    results: list[Result] = []
    about = {
        "model": material.name,
        "dtype": dtype,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "origin": material.origin,
        "layer": material.layer,
        "contenders": {name: worker.about for name, worker in team.workers.items()},
        "checks": checks,
    }
    found = about
    for work in chosen:
        results += measured(work, team, checks, material, arguments)
        found = about | {
            "absent": team.absent,
            "failed": [f"{result.work}: {label}" for result in results for label in sorted(result.failed)],
            "works": [result.record() for result in results],
            "targets": report.targets(results),
        }
        write(found, arguments)
    return found


def write(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Write the report and draw its picture, where asked."""
    if arguments.json:
        asked = {name: value for name, value in vars(arguments).items() if not isinstance(value, Path)}
        arguments.json.write_text(json.dumps(found | {"arguments": asked}, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot.draw(found, arguments.plot)


def sizes(arguments: argparse.Namespace) -> dict[str, int]:
    """Return how many rows each work has."""
    return {
        "record": arguments.record_prompts,
        "score0": arguments.score0_items,
        "score5": arguments.score5_items,
        "generate": arguments.generate_prompts,
        "overhead": arguments.overhead_rows,
        "study": arguments.study_part,
        "curve": max(*arguments.curve_prompts, arguments.curve_rows),
    }


def needed(chosen: list[str], without: list[str]) -> list[str]:
    """Return the contenders that some work asks for; plain transformers are what all are checked against."""
    names = {"steersman", "plain"}
    if {"record", "generate"} & set(chosen):
        names |= set(works.OTHERS)
    if {"score5", "study"} & set(chosen):
        names.add("lm-eval")
    if "study" in chosen:
        names.add("repeng")
    return [name for name in CONTENDERS if name in names and name not in without]


def measured(
    work: str, team: Team, checks: list[dict[str, Any]], material: Material, arguments: argparse.Namespace
) -> list[Result]:
    """Return the results of a work, which is one table or two."""
    if work in material.missing:
        return [Result(work, "it was not run", "steersman", unmeasured={"steersman": material.missing[work]})]
    plans = {
        "record": lambda: [works.record(material)],
        "score0": lambda: [works.score0(material, arguments.coefficients)],
        "score5": lambda: [works.score5(material, arguments.score5_coefficients)],
        "generate": lambda: [works.generate(material, arguments.coefficients, arguments.new_tokens)],
        "study": lambda: [works.study(material, arguments.coefficients, arguments.study_tokens)],
        "overhead": lambda: [
            works.overhead(material, verb, arguments.overhead_tokens) for verb in ("score", "generate")
        ],
        "curve": lambda: [
            works.curve(
                material,
                arguments.coefficients,
                arguments.curve_coefficients,
                arguments.curve_prompts,
                arguments.curve_rows,
            )
        ],
    }
    results = []
    for result, runs in plans[work]():
        rounds = arguments.overhead_rounds if work == "overhead" else arguments.rounds
        works.timed(team, checks, runs, result, rounds, WARM)
        if work in ("record", "score0"):
            floor.measure(team, material, result, arguments.coefficients)
        result.extra["agreement"] = report.agreement(result, material)
        results.append(result)
    return results


if __name__ == "__main__":
    sys.exit(main())
