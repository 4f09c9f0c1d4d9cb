"""What a direction is fitted to: the one source that a command line names, read and ready to be recorded."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.activations import Activations
from steersman.builders import behaviour_pairs, corpus, persona_pairs
from steersman.builders.sampling import sampled
from steersman.errors import DataError, InputError
from steersman.model.loaded import Model
from steersman.prompts import Example, Pair, find_set, pairs
from steersman.recording import record, record_models, record_texts

LIMIT = 256
"""Pairs or texts of one kind, where no --limit says otherwise; the shipped pair sets are taken whole."""


@dataclass(frozen=True)
class Material:
    """Texts that are read and ready to be recorded.

    Args:
        what: what they are, for people, such as `256 pairs`.
        count: number of texts that go through a model.
        span: the tokens that are read, where the user says nothing.
        record: `record(model, span=..., layers=..., points=..., notify=...)`.
    """

    what: str
    count: int
    span: str
    record: Callable[..., Activations]


@dataclass(frozen=True)
class Wanted:
    """The options of `extract` that say where the texts come from; `None` where not given."""

    pairs: str | None = None
    contrast: str | None = None
    opening_tokens: int | None = None
    concept: str | None = None
    opposite: str | None = None
    words: tuple[str, str] | None = None
    items: str | None = None
    answer: str | None = None
    positive: str | None = None
    negative: str | None = None
    against_model: str | None = None
    texts: str | None = None
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """One kind of source: the options that make it, those it may have beside, and what it becomes."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    read: Callable[[Wanted, Callable[[str], Model]], Material]


def material(wanted: Wanted, open_other: Callable[[str], Model]) -> Material:
    """Return the material of the one source that was asked for.

    Args:
        wanted: the options.
        open_other: loads a second model by name.

    Raises:
        InputError: for no source or several, one that lacks its other half, or an option that belongs to another.
        DataError: for a file that cannot be used.
    """
    given = {name for name in OPTIONS if getattr(wanted, name) is not None}
    chosen = [source for source in SOURCES if given & set(source.needs)]
    if len(chosen) != 1:
        came = " and ".join(_options(source.needs[0] for source in chosen)) or "none"
        choices = "; ".join(" with ".join(_options(source.needs)) for source in SOURCES)
        raise InputError(f"expected exactly one source of texts ({choices}), got {came}")
    source = chosen[0]
    if missing := [name for name in source.needs if name not in given]:
        there = [name for name in source.needs if name in given]
        raise InputError(f"expected {_join(missing)} beside {_join(there)}, got nothing")
    if foreign := [name for name in OPTIONS if name in given and name not in (*source.needs, *source.may)]:
        raise InputError(f"expected options that go with {_join(source.needs)}, got {_join(foreign)}")
    return source.read(wanted, open_other)


def refuse_folder(text: str, kind: Literal["pairs", "tasks"], option: str) -> None:
    """Return when an option names a built-in set or anything but a folder.

    Raises:
        DataError: for a folder.
    """
    try:
        find_set(text, kind)
    except DataError:
        if Path(text).expanduser().is_dir():
            raise DataError(f"expected a JSONL file for {option}, got {text!r}, which is a folder") from None


def _from_set(wanted: Wanted, _: Callable[[str], Model]) -> Material:
    contrast: Any = wanted.contrast or "completion"
    if contrast == "prompt" and wanted.opening_tokens is not None:
        raise InputError(
            "expected --opening-tokens with a contrast that has completions (completion or both), got --contrast prompt"
        )
    refuse_folder(wanted.pairs or "", "pairs", "--pairs")
    items = sampled(pairs(wanted.pairs or "", contrast=contrast, split="train"), wanted.limit, wanted.seed)
    return _paired(items, "last" if contrast == "prompt" else "completion", wanted.opening_tokens)


def _from_concept(wanted: Wanted, _: Callable[[str], Model]) -> Material:
    def build(lead: str) -> list[Pair]:
        limit = wanted.limit or LIMIT
        return persona_pairs(wanted.concept or "", wanted.opposite or "", lead=lead, limit=limit, seed=wanted.seed)

    def run(model: Model, **how: Any) -> Activations:
        # Without a chat template nothing else stands between instruction and statement.
        return record(model, build("" if model.template else " "), **how)

    count = len(build(""))
    return Material(f"{count} pairs", 2 * count, "end", run)


def _from_words(wanted: Wanted, _: Callable[[str], Model]) -> Material:
    positive, negative = wanted.words or ("", "")
    if not positive.strip() or not negative.strip() or positive == negative:
        raise InputError(f"expected two different words for --words, got {positive!r} and {negative!r}")
    return _paired([Pair("words", Example("", positive), Example("", negative))], "end")


def _from_items(wanted: Wanted, _: Callable[[str], Model]) -> Material:
    form: Any = wanted.answer or "letter"
    items = behaviour_pairs(wanted.items or "", form=form, limit=wanted.limit or LIMIT, seed=wanted.seed)
    return _paired(items, "end" if form == "letter" else "completion")


def _from_corpora(wanted: Wanted, _: Callable[[str], Model]) -> Material:
    sides = [
        corpus(path or "", limit=wanted.limit or LIMIT, seed=wanted.seed) for path in (wanted.positive, wanted.negative)
    ]

    def run(model: Model, **how: Any) -> Activations:
        return record_texts(model, sides[0], sides[1], **how)

    return Material(f"{len(sides[0])} against {len(sides[1])} texts", sum(map(len, sides)), "all-bos", run)


def _from_models(wanted: Wanted, open_other: Callable[[str], Model]) -> Material:
    texts = corpus(wanted.texts or "", limit=wanted.limit or LIMIT, seed=wanted.seed)

    def run(model: Model, **how: Any) -> Activations:
        return record_models(model, open_other(wanted.against_model or ""), texts, **how)

    return Material(f"{len(texts)} texts in two models", 2 * len(texts), "all-bos", run)


def _paired(items: Sequence[Pair], span: str, opening_tokens: int | None = None) -> Material:
    def run(model: Model, **how: Any) -> Activations:
        return record(model, items, opening_tokens=opening_tokens, **how)

    return Material(f"{len(items)} pair{'s' if len(items) > 1 else ''}", 2 * len(items), span, run)


def _options(names: Iterable[str]) -> list[str]:
    return ["--" + name.replace("_", "-") for name in names]


def _join(names: Sequence[str]) -> str:
    return " and ".join(_options(names))


SOURCES = (
    Source(("pairs",), ("contrast", "opening_tokens", "limit"), _from_set),
    Source(("concept", "opposite"), ("limit",), _from_concept),
    Source(("words",), (), _from_words),
    Source(("items",), ("answer", "limit"), _from_items),
    Source(("positive", "negative"), ("limit",), _from_corpora),
    Source(("against_model", "texts"), ("limit",), _from_models),
)
OPTIONS = tuple(dict.fromkeys(name for source in SOURCES for name in (*source.needs, *source.may)))
