"""Judges by the words of a command line."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.judges.classifier import load_classifier
from steersman.judges.endpoint import Endpoint
from steersman.judges.guard import load_guard
from steersman.judges.judge import Judge
from steersman.judges.llm import Cost, EndpointJudge
from steersman.judges.odds import OddsJudge
from steersman.judges.phrases import PhraseJudge
from steersman.model.load import load

FORMS = (
    "phrases",
    "odds[:MODEL]",
    "classifier:PATH[#LABEL[=QUESTION]]",
    "guard:PATH",
    "openai:MODEL[@BASE_URL]",
    "anthropic:MODEL[@BASE_URL]",
)
"""What a judge may be called on a command line; `NAME=` before it says what its metrics end in."""

_EXPECTED = f"expected a judge as {', '.join(FORMS)}"


def judge_named(
    spec: str,
    *,
    engine: Engine | None = None,
    questions: Sequence[str] = ("refusal",),
    cache: Path | None = None,
    limit: int | None = None,
    prices: tuple[float, float] | None = None,
    confirm: Callable[[Cost], bool] | None = None,
    key_variable: str | None = None,
    notify: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Judge:
    """Return the judge that a few words name.

    Args:
        spec: one of `FORMS`, such as `openai:gpt-4o-mini@http://localhost:8000/v1`; `NAME=` before it names the judge,
            which tells two of one kind apart.
        engine: what `odds` asks where no model is given; the default model where this is left out too.
        questions: what an endpoint is asked: of `behaviour`, `coherence` and `refusal`.
        cache: file for an endpoint's verdicts.
        limit: exchanges that an endpoint may be asked in one go.
        prices: of a million tokens in and out at an endpoint.
        confirm: given an endpoint's estimate before the first request.
        key_variable: environment variable that holds an endpoint's key.
        notify: called with a number of exchanges as an endpoint is done with them.
        tell: called with a few words while a model loads.

    Raises:
        InputError: for words that name no judge.
        ModelError: for a model that cannot be loaded.
    """
    match = re.fullmatch(r"(?:(?P<name>[\w.-]+)=)?(?P<kind>[a-z]+)(?::(?P<rest>.*))?", spec.strip(), re.DOTALL)
    if match is None:
        raise InputError(f"{_EXPECTED}, got {spec!r}")
    kind, rest = match["kind"], (match["rest"] or "").strip()
    name = match["name"] or kind
    if kind not in {form.partition(":")[0].partition("[")[0] for form in FORMS}:
        raise InputError(f"{_EXPECTED}, got {spec!r}")
    if (kind == "phrases" and match["rest"] is not None) or (kind not in ("phrases", "odds") and not rest):
        raise InputError(f"{_EXPECTED}, got {spec!r}; {_form(kind)} is how {kind} is written")
    if kind == "phrases":
        return PhraseJudge(name)
    if kind == "odds":
        if rest or engine is None:
            engine = load(rest or "default", notify=tell)
        return OddsJudge(engine, name)
    if kind == "guard":
        return load_guard(rest, name=name, notify=tell)
    if kind == "classifier":
        path, _, label = rest.partition("#")
        label, _, question = label.partition("=")
        return load_classifier(path, label or None, question=question or None, name=name, notify=tell)
    model, at, base_url = _model_and_address(rest)
    if at and not re.match(r"https?://", base_url):
        raise InputError(f"expected a base URL that begins with http:// or https:// after the @, got {base_url!r}")
    protocol = "anthropic" if kind == "anthropic" else "openai"
    endpoint = Endpoint(protocol, model, base_url or None, key_variable)
    # The model, not the protocol, is who judges.
    called = match["name"] or re.sub(r"[^\w.-]+", "-", model)
    return EndpointJudge(
        endpoint, called, tuple(questions), cache, limit=limit, prices=prices, confirm=confirm, notify=notify
    )


def _model_and_address(rest: str) -> tuple[str, str, str]:
    found = re.search(r"@https?://", rest)
    return (rest[: found.start()], "@", rest[found.start() + 1 :]) if found else rest.partition("@")


def _form(kind: str) -> str:
    return next(form for form in FORMS if form.startswith(kind))
