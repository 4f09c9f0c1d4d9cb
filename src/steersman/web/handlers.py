"""What the page's buttons do, between Gradio's values and the modules that know nothing of it.

Every handler catches what can go wrong and says it as a sentence in the page's own strip: a visitor never sees a
traceback, nor a box that says no more than Error.
"""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import quote

import gradio as gr

from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.web import making_view
from steersman.web.answering import answer
from steersman.web.desk import MOST, Desk
from steersman.web.following import Follower
from steersman.web.making import EFFORTS, Quit, Wish, checked
from steersman.web.notices import alert, said, sentence, warning
from steersman.web.shelf import SPANS, WIDER, Entry, Setting, from_file, from_hub, home, placed, slider_of
from steersman.web.steering import ends, signed
from steersman.web.talk import Session, turn_tokens
from steersman.web.transcript import UNCOLOURED, Place, legend, transcript, welcome
from steersman.web.work import Work

NOBODY = "The page is still being prepared; try again in a second."
POLL = 0.4
"""Seconds between two looks at a direction in the making."""

NONE = "nothing"
"""What stands for no direction in a list."""

KEPT = 8
"""Turns whose colours follow when another direction is chosen to colour by."""


class Handlers:
    """The handlers of one page.

    Args:
        desk: what the visitors share.
        downloads: folder that files to download are written to; the page serves them from there.
    """

    def __init__(self, desk: Desk, downloads: Path) -> None:
        self.desk = desk
        self.downloads = downloads

    # the conversation

    def send(
        self, session: Session | None, text: str, length: float, temperature: float, colour: str, *values: float
    ) -> Iterator[tuple[Any, ...]]:
        """Answer a message twice; outputs are transcript, message, notice, send button, stop button, examples."""
        if session is None:
            yield gr.skip(), gr.skip(), alert(NOBODY), *_buttons(False), gr.skip()
            return
        if session.answering:
            yield gr.skip(), gr.skip(), alert("An answer is under way; stop it first."), *_buttons(True), gr.skip()
            return
        if not (text or "").strip():
            yield gr.skip(), gr.skip(), alert("Type a few words, then press Enter."), *_buttons(False), gr.skip()
            return
        session.answering = True
        notice, emptied = "", False
        try:
            steering = self.desk.steering(session, values)
            sampling = Sampling(int(length), float(temperature), repetition_penalty=1.1)
            coloured = self.desk.colour(session, colour)
            for _ in answer(self.desk.live, session, text.strip(), steering, sampling, coloured):
                box = gr.skip() if emptied else gr.update(value="")
                emptied = True
                yield self.show(session), box, "", *_buttons(True), gr.update(visible=False)
        except Exception as error:
            notice = alert(sentence(error))
        finally:
            session.answering = False
        if session.recolour is not None:
            notice = self.recolour(session, session.recolour)[2] or notice
        yield self.show(session), gr.skip(), notice, *_buttons(False), gr.update(visible=not session.turns)

    def stop(self, session: Session | None) -> None:
        """End the answers under way."""
        if session is not None:
            session.stop.set()

    def clear(self, session: Session | None) -> tuple[Any, ...]:
        """Begin anew; outputs are transcript, notice, examples."""
        if session is None:
            return gr.skip(), alert(NOBODY), gr.skip()
        session.stop.set()
        session.turns.clear()
        return self.show(session), "", gr.update(visible=True)

    def recolour(self, session: Session | None, colour: str) -> tuple[Any, ...]:
        """Colour what stands there by another direction; outputs are transcript, legend, notice."""
        if session is None:
            return gr.skip(), gr.skip(), alert(NOBODY)
        try:
            session.recolour = colour if session.answering else None
            if not session.answering:
                self._recolour(session, colour)
            return self.show(session), self.legend(session, colour), ""
        except Exception as error:
            return gr.skip(), gr.skip(), alert(sentence(error))

    def _recolour(self, session: Session, colour: str) -> None:
        found = self.desk.colour(session, colour)
        first = max(0, len(session.turns) - KEPT)
        for place, turn in enumerate(session.turns):
            if place < first:
                continue
            turn.colour = found[0] if found else ""
            for which, side in turn.sides.items():
                if found is None or not side.tokens:
                    continue
                before = turn_tokens(self.desk.model, session.turns[:place], turn.said, which, len(side.tokens))
                side.read = Follower(self.desk.model, before, found[1]).follow(side.tokens)

    def show(self, session: Session) -> str:
        """Return the conversation as HTML; before the first turn, what this page is."""
        if not session.turns:
            return welcome(chat=self.desk.chat, ready=bool(session.shelf))
        places: dict[str, Place | None] = {}

        def place(name: str) -> Place | None:
            if name not in places:
                found = self.desk.colour(session, name)
                places[name] = None if found is None else self.desk.scales.scale(found[1]).place
            return places[name]

        return transcript(session.turns, place, chat=self.desk.chat)

    def legend(self, session: Session | None, colour: str) -> str:
        """Return what the colours mean."""
        entry = None if session is None else self.desk.entry(session, colour)
        if entry is None or entry.direction is None:
            return UNCOLOURED
        return legend(*_ways(entry))

    # the sliders

    def moved(self, session: Session | None, *values: float) -> str:
        """Return warnings for the sliders that stand beyond their range."""
        if session is None:
            return ""
        try:
            return warning(self.desk.steering(session, values).warnings)
        except Exception as error:
            return alert(sentence(error))

    def widen(self, session: Session | None, wide: bool, *values: float) -> tuple[Any, ...]:
        """Let the sliders go further, or no further than recommended; outputs are all sliders, then the warnings."""
        if session is None:
            return *(gr.skip() for _ in range(MOST)), alert(NOBODY)
        updates, kept = self.tracks(session, wide, values)
        return *updates, self.moved(session, *kept)

    def tracks(
        self, session: Session, wide: bool, values: Sequence[float] = (), fresh: str = ""
    ) -> tuple[list[Any], list[float]]:
        """Return an update for every slider, and the values that they keep.

        Args:
            session: the visitor's.
            wide: whether they go beyond what is recommended.
            values: where they stand; those that would lie off their track are moved to its end.
            fresh: the name of an entry that is set to its recommendation, and all others to 0.
        """
        updates: list[Any] = []
        kept: list[float] = []
        for place in range(MOST):
            if place >= len(session.shelf):
                updates.append(gr.update(visible=False))
                continue
            entry = session.shelf[place]
            slider = slider_of(entry, self.desk.setting(session, entry), self.desk.scales.norm)
            low, high = ends(slider, wider=WIDER if wide else 1.0)
            value = values[place] if place < len(values) else 0.0
            if fresh:
                value = slider.start if entry.name == fresh else 0.0
            value = min(max(round(float(value or 0.0), 2), low), high)
            kept.append(value)
            updates.append(
                gr.update(
                    visible=True,
                    label=entry.name,
                    info=self.info(session, entry),
                    minimum=low,
                    maximum=high,
                    value=value,
                )
            )
        return updates, kept

    def info(self, session: Session, entry: Entry) -> str:
        """Return the small line below a slider's name: what both ways do, and what is recommended."""
        slider = slider_of(entry, self.desk.setting(session, entry), self.desk.scales.norm)
        up, down = _ways(entry)
        ways = f"− {down} · + {up}" if entry.what else ""
        best = f"best {signed(slider.start)}" if slider.start else "nothing measured here"
        return " · ".join(part for part in (ways, best) if part)

    def pick(self, session: Session | None, name: str) -> tuple[Any, ...]:
        """Show where a direction acts; outputs are layer, span, gate."""
        entry = None if session is None else self.desk.entry(session, name)
        if session is None or entry is None or entry.direction is None:
            off = gr.update(interactive=False)
            return off, off, off
        setting = self.desk.setting(session, entry)
        at = home(entry.direction).layer
        held = {site.layer for site in entry.direction.sites}
        choices = [(_layer(layer, at, held), layer) for layer in range(self.desk.model.depth)]
        layer = at if setting.layer is None else setting.layer
        return (
            gr.update(choices=choices, value=layer, interactive=True),
            gr.update(value=setting.span, interactive=True),
            gr.update(value=setting.gated, interactive=True),
        )

    def place(
        self, session: Session | None, name: str, layer: int | None, span: str, gated: bool, wide: bool, *values: float
    ) -> tuple[Any, ...]:
        """Let a direction act elsewhere; outputs are all sliders, then the warnings."""
        if session is None:
            return *(gr.skip() for _ in range(MOST)), alert(NOBODY)
        try:
            entry = self.desk.entry(session, name)
            if entry is None or entry.direction is None or layer is None:
                return *(gr.skip() for _ in range(MOST)), ""
            if span not in SPANS or not 0 <= int(layer) < self.desk.model.depth:
                raise InputError(f"expected a layer below {self.desk.model.depth} and a span of the list, got others")
            at = home(entry.direction).layer
            session.settings[entry.name] = Setting(None if int(layer) == at else int(layer), span, bool(gated))
            if gated:
                self.desk.scales.gate(
                    placed(entry.direction, session.settings[entry.name].layer, self.desk.scales.norm)
                )
            updates, kept = self.tracks(session, wide, values)
            return *updates, self.moved(session, *kept)
        except Exception as error:
            return *(gr.skip() for _ in range(MOST)), alert(sentence(error))

    # the shelf

    def add_file(self, session: Session | None, file: str | None, wide: bool, *values: float) -> tuple[Any, ...]:
        """Put a file's direction on the shelf; outputs are notice, lists, sliders."""
        return self._added(session, wide, values, lambda: from_file(file or ""))

    def add_hub(self, session: Session | None, address: str, wide: bool, *values: float) -> tuple[Any, ...]:
        """Put a direction of the hub on the shelf; outputs are notice, lists, sliders."""
        return self._added(session, wide, values, lambda: from_hub(address or ""))

    def _added(self, session: Session | None, wide: bool, values: Sequence[float], get: Any) -> tuple[Any, ...]:
        nothing = tuple(gr.skip() for _ in range(MOST + 2))
        if session is None:
            return alert(NOBODY), *nothing
        try:
            entry = self.desk.add(session, get())
            return said(f"{entry.name} is on the page now; move its slider."), *self.lists(session, wide, values)
        except Exception as error:
            return alert(sentence(error)), *nothing

    def lists(self, session: Session, wide: bool, values: Sequence[float], fresh: str = "") -> tuple[Any, ...]:
        """Return updates of everything that names the entries: both lists, and all sliders."""
        names = [entry.name for entry in session.shelf if entry.direction is not None]
        colours, picks = gr.update(choices=[NONE, *names]), gr.update(choices=names)
        if fresh:
            colours["value"] = picks["value"] = fresh
        return colours, picks, *self.tracks(session, wide, values, fresh)[0]

    # making

    def make(
        self, session: Session | None, concept: str, opposite: str, pairs: str, name: str, effort: str, wide: bool,
        *values: float,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Make a direction; outputs are view, notice, make button, cancel button, results row, download, lists."""
        same = tuple(gr.skip() for _ in range(MOST + 2))
        if session is None or session.making:
            words = NOBODY if session is None else "A direction is being made; cancel it first."
            yield gr.skip(), alert(words), gr.skip(), gr.skip(), gr.skip(), gr.skip(), *same
            return
        idle = (gr.update(visible=True), gr.update(visible=False))
        wish = Wish(concept or "", opposite or "", pairs or "", name or "", effort if effort in EFFORTS else "quick")
        try:
            title, *_ = checked(wish, self.desk.model)
            self.desk.begin_making()
        except Exception as error:
            yield gr.skip(), alert(sentence(error)), *idle, gr.skip(), gr.skip(), *same
            return
        session.making = True
        session.quit.clear()
        work = Work(self.desk, wish, session.quit)
        try:
            while work.is_alive():
                busy = (gr.update(visible=False), gr.update(visible=True))
                shown = making_view.under_way(work.progress, title)
                yield shown, "", *busy, gr.update(visible=False), gr.skip(), *same
                work.join(POLL)
            if work.made is None:
                if isinstance(work.error, Quit):
                    yield making_view.cancelled(title), "", *idle, gr.skip(), gr.skip(), *same
                else:
                    words = alert(sentence(work.error or RuntimeError("nothing was made")))
                    yield making_view.idle(), words, *idle, gr.skip(), gr.skip(), *same
                return
            made = work.made
            entry = self.desk.add(session, Entry(made.name, made.what, made.direction))
            session.made = entry.name
            file = self.desk.save(entry, Path(mkdtemp(dir=self.downloads)))
            lists = self.lists(session, wide, values, entry.name)
            yield making_view.finished(made), "", *idle, gr.update(visible=True), gr.update(value=str(file)), *lists
        except Exception as error:
            yield gr.skip(), alert(sentence(error)), *idle, gr.skip(), gr.skip(), *same
        finally:
            session.making = False
            session.quit.set()

    def quit(self, session: Session | None) -> None:
        """End the making of a direction."""
        if session is not None:
            session.quit.set()

    def save(self, session: Session | None) -> str:
        """Save the direction that was made last, and return the notice."""
        if session is None or not session.made:
            return alert("Make a direction first.")
        try:
            entry = self.desk.entry(session, session.made)
            if entry is None:
                raise InputError("expected the direction that was made last, and it is gone")
            return said(f"Saved as {self.desk.save(entry).name}; steersman demo --direction FILE brings it back.")
        except Exception as error:
            return alert(sentence(error))

    # reports

    def report(self, name: str | None) -> str:
        """Return the frame that shows a report."""
        if not name or self.desk.reports.path(name) is None:
            return '<div class="welcome"><p>Choose a report above.</p></div>'
        address = f"reports/{quote(name)}"
        return (
            f'<p class="caption"><a href="{address}" target="_blank" rel="noopener">Open in a page of its own</a></p>'
            f'<iframe src="{address}" title="{html.escape(name)}" sandbox="allow-scripts"></iframe>'
        )


def _buttons(busy: bool) -> tuple[Any, Any]:
    """Return updates of the send and of the stop button."""
    return gr.update(visible=not busy), gr.update(visible=busy)


def _ways(entry: Entry) -> tuple[str, str]:
    """Return what pushing up and pushing down does, in words."""
    up, between, down = entry.what.partition(" / ")
    return (up, down) if between else (f"more {entry.name}", f"less {entry.name}")


def _layer(layer: int, at: int, held: set[int]) -> str:
    if layer == at:
        return f"{layer} (where it acts best)"
    return f"{layer}" if layer in held else f"{layer} (moved there)"
