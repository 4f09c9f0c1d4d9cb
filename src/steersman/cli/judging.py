"""Judges by their words: as much as can be made and checked before the steered model is loaded."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import typer

from steersman.cli.console import on_terminal, say
from steersman.engines import Engine
from steersman.errors import InputError
from steersman.judges import Judge
from steersman.judges.llm import Cost, EndpointJudge
from steersman.judges.naming import judge_named
from steersman.judges.odds import OddsJudge

_SAME_MODEL = re.compile(r"\s*(?:(?P<name>[\w.-]+)=)?odds\s*")
"""The judge that asks the very model that is steered, without its steering."""


@dataclass(frozen=True)
class Judging:
    """The options that say who judges.

    Args:
        specs: such as `phrases` or `openai:MODEL@BASE_URL`.
        concept: what an endpoint rates; where not given it is asked for refusals.
        folder: the run folder, which keeps verdicts; the user's cache where there is none.
        prices: of a million tokens in and out.
        limit: most texts that an endpoint may be asked.
        key_variable: environment variable with an endpoint's key.
        sure: whether to go on without asking.
    """

    specs: Sequence[str] = ()
    concept: str | None = None
    folder: Path | None = None
    prices: tuple[float, float] | None = None
    limit: int | None = None
    key_variable: str | None = None
    sure: bool = False


def judges_named(asked: Judging) -> Callable[[Engine], list[Judge]]:
    """Return what gives the judges once the model is there, which the judge `odds` asks; all else is done now.

    Endpoints say what they will cost before the first request.

    Raises:
        InputError: for words that name no judge, two judges of one name, a key that is not in the environment, or a
            concept that nobody rates.
        ModelError: for a judge's own model that cannot be loaded.
    """
    endpoints = [spec for spec in asked.specs if re.match(r"\s*(?:[\w.-]+=)?(?:openai|anthropic):", spec)]
    for given, option in (
        (asked.concept, "--concept"),
        (asked.prices, "--judge-prices"),
        (asked.limit, "--judge-limit"),
    ):
        if given is not None and not endpoints:
            raise InputError(f"expected {option} beside a --judge at an endpoint (openai:, anthropic:), got none")
    late = [_SAME_MODEL.fullmatch(spec) for spec in asked.specs]
    made = [None if same else _made(spec, asked) for spec, same in zip(asked.specs, late, strict=True)]
    names = [judge.name if judge else (same and same["name"]) or "odds" for judge, same in zip(made, late, strict=True)]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InputError(
            f"expected judges with different names, got {twice[0]} twice; name one, as in --judge other={twice[0]}"
        )
    for judge in made:
        if isinstance(judge, EndpointJudge):
            judge.endpoint.connect()  # asks nothing; finds a library or a key that is missing
    return lambda engine: [judge or OddsJudge(engine, name) for judge, name in zip(made, names, strict=True)]


def _made(spec: str, asked: Judging) -> Judge:
    def confirm(cost: Cost) -> bool:
        say(f"judging: {cost}")
        return asked.sure or not cost.requests or not on_terminal() or typer.confirm("Go on?", err=True)

    return judge_named(
        spec,
        questions=("behaviour", "coherence") if asked.concept else ("refusal",),
        cache=(asked.folder or Path(platformdirs.user_cache_dir("steersman"))) / "judgements.jsonl",
        limit=asked.limit,
        prices=asked.prices,
        confirm=confirm,
        key_variable=asked.key_variable,
        tell=say,
    )
