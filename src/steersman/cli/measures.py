"""Options of the commands that measure: tasks, controls, judges, others' benchmarks; written once for both."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.options import AsJson, Device, DirectionName, Dtype, ModelName, Places, PlanFile, SpanText, UnitName
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
Shots = Annotated[
    int, typer.Option("--shots", min=0, max=5, help="Of knowledge: answered examples before a question, 0 to 5.")
]
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
RandomSeeds = Annotated[int, typer.Option("--random-seeds", min=0, help="How many random directions of equal norm.")]
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


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What both commands that measure are given, as it was typed; the fields are the options."""

    direction: DirectionName = None
    plan: PlanFile = None
    unit: UnitName = None
    layer: Places = None
    span: SpanText = None
    task: TaskNames = None
    sets: Sets = None
    limit: Limit = None
    prompt_arm: SystemPrompt = None
    gain: Gain = None
    max_new_tokens: NewTokens = 32
    shots: Shots = 0
    form: FormName = None
    scoring: ScoringNames = "letter,text"
    no_control: NoControls = None
    random_seeds: RandomSeeds = 3
    pairs: PairsName = None
    contrast: ContrastName = "completion"
    opening_tokens: OpeningTokens = None
    judge: JudgeNames = None
    concept: Concept = None
    judge_prices: Prices = None
    judge_limit: JudgeLimit = None
    judge_key: KeyVariable = None
    sure: Sure = False
    lm_eval: Harness = None
    lm_eval_path: HarnessPath = None
    lm_eval_shots: HarnessShots = None
    folder: Folder = None
    force: TakeOver = False
    seed: Seed = 0
    model: ModelName = "default"
    dtype: Dtype = "auto"
    device: Device = "auto"
    as_json: AsJson = False


def measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of `Measuring` beside its own, and gets them as its last argument.

    Typer reads a command's signature; this one is the command's own but for `options`, and then the fields.
    """
    own = inspect.signature(command, eval_str=True).parameters
    mine = [each for each in own.values() if each.name != "options"]
    theirs = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in fields(Measuring)
    ]

    @wraps(command)
    def together(**given: Any) -> None:
        """Sort what was given."""
        shared = {each.name: given.pop(each.name) for each in theirs}
        command(**given, options=Measuring(**shared))

    every = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in mine] + theirs
    together.__signature__ = inspect.Signature(every)  # pyright: ignore[reportAttributeAccessIssue]
    together.__annotations__ = {each.name: each.annotation for each in every}
    return together
