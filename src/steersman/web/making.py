"""Making a direction: texts from a concept or pasted pairs, extraction, automatic selection; watched, ended at once.

It runs in a thread of its own and keeps a `Progress` that the page draws. What ends it is looked at before every pass
of the model, so that nobody waits for a batch to finish.
"""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from steersman.builders import persona_pairs
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.methods import MeanDifference
from steersman.model.loaded import Model
from steersman.prompts import Example, Pair, pairs
from steersman.recording import record
from steersman.report.selection_plot import selection_chart
from steersman.report.selection_record import parts_of
from steersman.report.templating import Drawn, drawn
from steersman.selected import Selection
from steersman.selecting import candidates_of, select
from steersman.tasks import Outcome
from steersman.web.shelf import named
from steersman.where import Site

Stage = Literal["texts", "reading", "selecting", "done", "cancelled", "failed"]

BETWEEN = "=>"
"""What stands between the two sides of a pasted pair."""

MOST_PAIRS = 512
"""Pasted pairs."""


@dataclass(frozen=True)
class Effort:
    """How much is read and tried.

    Args:
        pairs: of a concept.
        sites: shares of the depth that are tried; `None` for those that `select` tries by itself.
        completions: of the search at each site.
        items: of every measure.
    """

    pairs: int
    sites: tuple[float, ...] | None
    completions: int
    items: int


EFFORTS = {"quick": Effort(64, (0.4, 0.55), 14, 6), "thorough": Effort(192, None, 25, 16)}
"""By name: under a minute on two cores with the default model, and several minutes."""

BUDGET = "kl=0.5"
"""What steering may cost: nats per token, as of `steersman select`."""


class Quit(BaseException):
    """Somebody ended the making of a direction."""


@dataclass(frozen=True)
class Wish:
    """What a person asks for.

    Args:
        concept: what the direction is to bring, as an adjective or a phrase in its place.
        opposite: what the other side is.
        pairs: pasted, in place of the two: `this => that` a line, or JSONL as pair files have it.
        name: of the direction; the concept where it is empty.
        effort: of `EFFORTS`.
    """

    concept: str = ""
    opposite: str = ""
    pairs: str = ""
    name: str = ""
    effort: str = "quick"


@dataclass(frozen=True)
class Tried:
    """One strength that the selection tried.

    Args:
        site: where.
        coefficient: fraction of the residual norm.
        text: what was written under it.
    """

    site: Site
    coefficient: float
    text: str


@dataclass(eq=False)
class Progress:
    """How far it is.

    Args:
        stage: what is being done.
        count: pairs that it is made of.
        texts: read so far.
        sites: finished so far, and in all.
        tried: strengths, latest last.
    """

    stage: Stage = "texts"
    count: int = 0
    texts: int = 0
    sites: tuple[int, int] = (0, 0)
    tried: list[Tried] = field(default_factory=list[Tried])

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1: about."""
        done, total = self.sites
        reading = self.texts / max(1, 2 * self.count)
        if self.stage in ("texts", "reading"):
            return 0.15 * reading
        return 1.0 if self.stage == "done" else 0.15 + 0.85 * done / max(1, total)


@dataclass(frozen=True)
class Made:
    """A direction with what the selection found.

    Args:
        name: of the direction.
        what: what pushing up and down does, in words.
        direction: with the ranges that were found, those of the chosen site first.
        selection: all of it.
    """

    name: str
    what: str
    direction: Direction
    selection: Selection

    @property
    def curve(self) -> Drawn | None:
        """The figure of the chosen site's search, or of the first one's; `None` where there is nothing to draw."""
        for part in parts_of(self.selection.plain()):
            if part.drawn:
                return drawn(selection_chart(part.drawn[:1]))
        return None


class _Watched(dict[str, Outcome]):
    """The finished items of a selection, which says what was tried as soon as it is kept."""

    def __init__(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._tell = tell

    def __setitem__(self, key: str, outcome: Outcome) -> None:
        """Keep an item."""
        super().__setitem__(key, outcome)
        if key.startswith("search:"):
            self._tell(outcome.details)


def checked(wish: Wish, model: Model) -> tuple[str, str, list[Pair], str]:
    """Return the name, the words, the pairs that a wish comes to, and the span that is read of them.

    Raises:
        InputError: for a wish that says too little or too much.
    """
    effort = EFFORTS.get(wish.effort)
    if effort is None:
        raise InputError(f"expected an effort among {', '.join(EFFORTS)}, got {wish.effort[:40]!r}")
    if wish.pairs.strip():
        found, span = pasted(wish.pairs)
        return named(wish.name or wish.concept or "my direction"), "", found, span
    concept, opposite = " ".join(wish.concept.split()), " ".join(wish.opposite.split())
    if not concept or not opposite:
        missing = "a concept" if not concept else "its opposite"
        raise InputError(f"expected a concept and its opposite, such as cheerful and gloomy; {missing} is missing")
    if max(len(concept), len(opposite)) > 120:
        raise InputError(
            "expected a word or a short phrase for the concept and its opposite, got more than 120 letters"
        )
    lead = "" if model.template else " "
    found = persona_pairs(concept, opposite, lead=lead, limit=effort.pairs)
    return named(wish.name or concept), f"{concept} / {opposite}", found, "end"


def pasted(text: str) -> tuple[list[Pair], str]:
    """Return pasted pairs, and the span that is read of them.

    Args:
        text: `this => that`, a pair a line; or JSON objects as pair files have them, one a line.

    Raises:
        InputError: for a line that is neither, naming it, or too many.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_PAIRS:
        raise InputError(f"expected at most {MOST_PAIRS} pairs, got {len(lines):,} lines; take extract for more")
    if lines and lines[0].startswith("{"):
        return _from_json(lines), "completion"
    found: list[Pair] = []
    for number, line in enumerate(lines, start=1):
        positive, between, negative = (part.strip() for part in line.partition(BETWEEN))
        if not (positive and between and negative) or positive == negative:
            raise InputError(f"line {number}: expected two different texts as this {BETWEEN} that, got {line[:60]!r}")
        found.append(Pair(f"line-{number}", Example("", positive), Example("", negative)))
    if len(found) < 2:
        raise InputError(f"expected at least two pairs, one a line as this {BETWEEN} that, got {len(found)}")
    return found, "all-bos"


def make(model: Model, wish: Wish, progress: Progress, quit_: threading.Event) -> Made:
    """Return the direction that a wish comes to, with its site, range and recommendation.

    Args:
        model: the model it is for.
        wish: what is asked for.
        progress: kept up to date.
        quit_: set by whoever wants it to end.

    Raises:
        InputError: for a wish that cannot be granted.
        Quit: when it was ended.
    """
    name, what, found, span = checked(wish, model)
    effort = EFFORTS[wish.effort]
    progress.count, progress.stage = len(found), "reading"

    def read(count: int) -> None:
        progress.texts += count

    with interruptible(model, quit_):
        direction = MeanDifference().fit(record(model, found, span=span, notify=read))
        progress.stage = "selecting"
        places = candidates_of(direction, effort.sites).sites

        def tried(batch: Mapping[str, Any]) -> None:
            site = places[min(progress.sites[0], len(places) - 1)]
            for trial in batch["trials"]:
                progress.tried.append(Tried(site, float(trial["coefficient"]), str(trial["completions"][0])))

        def moved(stage: str, done: int, total: int) -> None:
            if stage == "sites":
                progress.sites = (done, total)

        selection = select(
            model, direction, budget=BUDGET, sites=places, most=effort.completions, limit=effort.items,
            confirm=False, store=_Watched(tried), notify=moved,
        )  # fmt: skip
    best = selection.chosen
    own = [each for each in selection.ranges if best is not None and each.site == best.site]
    others = [each for each in selection.ranges if each not in own]
    progress.stage = "done"
    return Made(name, what, direction.with_ranges(*own, *others), selection)


@contextmanager
def interruptible(model: Model, quit_: threading.Event) -> Iterator[None]:
    """Run the body so that every pass of the model in this thread ends it where the event is set.

    Raises:
        Quit: from the body.
    """
    own = threading.get_ident()

    def before(*_: Any) -> None:
        if quit_.is_set() and threading.get_ident() == own:
            raise Quit

    # What is found out of a model by trial takes an error for an answer: it must be known before.
    model.find_out()
    with model.lock:
        handle = model.layout.base.register_forward_pre_hook(before)
    try:
        yield
    finally:
        with model.lock:
            handle.remove()


def _from_json(lines: list[str]) -> list[Pair]:
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)
        except ValueError:
            raise InputError(f"line {number}: expected JSON, as the first line has, got {line[:60]!r}") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        try:
            return pairs(path, split=None)
        except InputError as error:
            raise InputError(str(error).replace(f"{path}, ", "").replace(str(path), "the pairs")) from None
