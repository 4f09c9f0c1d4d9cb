"""Options of the commands that measure: tasks, controls, judges, others' benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.tasks.named import TASKS, USUAL

TaskNames = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help=f"One of {', '.join(TASKS)}; NAME=SOURCE takes the items of a file, a built-in set or hub:owner/name. "
        f"May be given several times; if not, {', '.join(USUAL)}.",
    ),
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME=PATH replaces a set; may be given several times.")]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many items of every task.")]
SystemPrompt = Annotated[
    str | None,
    typer.Option("--prompt-arm", help="System prompt that asks for the same behaviour: adds the prompt arms."),
]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Limit of every completion.")]
Shots = Annotated[int, typer.Option("--shots", help="Of knowledge: answered examples before a question, 0 to 5.")]
FormName = Annotated[
    str | None,
    typer.Option(
        "--form", help="Of knowledge and behaviour: chat (in the chat template) or plain (as the papers ask)."
    ),
]
ScoringNames = Annotated[
    str, typer.Option("--scoring", help="Of knowledge: letter, text (of the answer), or both with a comma.")
]
NoControls = Annotated[
    list[str] | None,
    typer.Option(
        "--no-control", help="random, permuted, negated, shuffled, prompt, prompt+steered, or all; several times."
    ),
]
RandomSeeds = Annotated[int, typer.Option("--random-seeds", help="How many random directions of equal norm.")]
PairsName = Annotated[
    str | None,
    typer.Option("--pairs", help="The pairs that the direction was fitted to: adds the control with shuffled labels."),
]
ContrastName = Annotated[str, typer.Option("--contrast", help="Of --pairs: completion, prompt or both.")]
OpeningTokens = Annotated[int | None, typer.Option("--opening-tokens", help="Of --pairs, as it was for extract.")]
Gain = Annotated[
    str | None,
    typer.Option(
        "--gain",
        help="What the vector is for, TASK.METRIC, :lower behind it where less is better; the first if not given.",
    ),
]
JudgeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        help="phrases, odds, classifier:PATH, guard:PATH, openai:MODEL[@URL] or anthropic:MODEL[@URL]; several times.",
    ),
]
Concept = Annotated[
    str | None, typer.Option("--concept", help="What an LLM judge rates from 1 to 10, beside coherence.")
]
Prices = Annotated[str | None, typer.Option("--judge-prices", help="Of a million tokens in and out, such as 0.15,0.6.")]
JudgeLimit = Annotated[int | None, typer.Option("--judge-limit", help="Most texts that an endpoint may be asked.")]
KeyVariable = Annotated[
    str | None, typer.Option("--judge-key", help="Environment variable that holds an endpoint's key.")
]
Sure = Annotated[bool, typer.Option("--yes", help="Do not ask before an endpoint is paid.")]
Harness = Annotated[
    str | None, typer.Option("--lm-eval", help="Tasks of lm-evaluation-harness, with commas between; beside --task.")
]
HarnessPath = Annotated[
    Path | None, typer.Option("--lm-eval-path", help="A folder with task files of your own for --lm-eval.")
]
HarnessShots = Annotated[
    int | None, typer.Option("--lm-eval-shots", help="Few-shot examples of --lm-eval's tasks; their own if not given.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--out", help="Run folder: items, results and report.html; the same command continues it."),
]
TakeOver = Annotated[
    bool, typer.Option("--force", help="Take over a folder with other settings; valid items are kept.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of drawn controls and of the bootstrap.")]
