"""What all visitors of one page share: the model and what answers for it, its scales, ready directions, reports."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steersman import ready
from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.files import save_direction
from steersman.gates import Gate
from steersman.model.live import Live
from steersman.model.loaded import Model
from steersman.web.reports import Reports
from steersman.web.scales import Scales
from steersman.web.shelf import Entry, Setting, fitting, from_file, placed, ready_entry, setting_of, shelved
from steersman.web.steering import Steering, steering_of
from steersman.web.talk import Session

MOST = 12
"""Directions on one visitor's page."""


@dataclass(eq=False)
class Desk:
    """One model and what surrounds it.

    Args:
        model: what is steered.
        live: what answers; its thread owns the model for a step at a time.
        entries: what every visitor finds on the shelf.
        reports: of finished runs.
        folder: where directions are saved; `None` where nothing may be saved.
    """

    model: Model
    live: Live
    entries: Sequence[Entry] = ()
    reports: Reports = field(default_factory=Reports)
    folder: Path | None = None
    _making: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Prepare what is measured of the model."""
        self.scales = Scales(self.model)

    @property
    def chat(self) -> bool:
        """Whether the model answers in turns; a base model goes on with a text."""
        return bool(self.model.template)

    def warm(self) -> None:
        """Measure beforehand what the first answer needs, in a thread of its own: nobody waits for it."""

        def measure() -> None:
            for entry in self.entries:
                if entry.direction is not None:
                    self.scales.scale(placed(entry.direction, None, self.scales.norm))

        threading.Thread(target=measure, name="steersman-warm", daemon=True).start()

    def begin(self) -> Session:
        """Return what a new visitor has before them."""
        return Session(list(self.entries))

    def setting(self, session: Session, entry: Entry) -> Setting:
        """Return where an entry acts for a visitor."""
        return session.settings.get(entry.name) or setting_of(entry)

    def entry(self, session: Session, name: str | None) -> Entry | None:
        """Return a visitor's entry of a name; `None` for one that is not there."""
        return next((entry for entry in session.shelf if entry.name == name), None)

    def steering(self, session: Session, values: Sequence[float]) -> Steering:
        """Return what a visitor's sliders come to."""
        gates: dict[str, Gate] = {}
        for entry, value in zip(session.shelf, values, strict=False):
            setting = self.setting(session, entry)
            if value and setting.gated and entry.direction is not None:
                gates[entry.name] = self.scales.gate(placed(entry.direction, setting.layer, self.scales.norm))
        return steering_of(session.shelf, session.settings, values, self.scales.norm, gates)

    def colour(self, session: Session, name: str | None) -> tuple[str, Direction] | None:
        """Return the name and the direction, where it acts, that tokens are to be coloured by; `None` for none."""
        entry = self.entry(session, name)
        if entry is None or entry.direction is None:
            return None
        return entry.name, placed(entry.direction, self.setting(session, entry).layer, self.scales.norm)

    def add(self, session: Session, entry: Entry) -> Entry:
        """Put an entry on a visitor's shelf, when it fits the model.

        Raises:
            InputError: where it does not, or the shelf is full.
        """
        return shelved(session.shelf, fitting(entry, self.model), MOST)

    def save(self, entry: Entry, folder: Path | None = None) -> Path:
        """Return the path of a direction that was saved under its name, or under one with a number where that is taken.

        Args:
            entry: a direction.
            folder: where to; the desk's own where not given.

        Raises:
            InputError: where nothing can be saved.
        """
        place = folder or self.folder
        if place is None:
            raise InputError("expected a folder to save to, got none: this page was started without one; download it")
        if entry.direction is None:
            raise InputError("expected a direction to save, got a plan")
        place.mkdir(parents=True, exist_ok=True)
        name, number = entry.name, 1
        while True:
            try:
                return save_direction(entry.direction, place / f"{name}.safetensors")
            except FileError:
                number += 1
                name = f"{entry.name}-{number}"
                if number > 99:
                    raise

    def begin_making(self) -> None:
        """Take the one place there is for making a direction.

        Raises:
            InputError: where somebody else has it.
        """
        if not self._making.acquire(blocking=False):
            raise InputError(
                "expected one direction to be made at a time, and one is being made; try again in a minute"
            )

    def end_making(self) -> None:
        """Give the place back."""
        self._making.release()


def open_desk(
    model: Model, *, directions: Sequence[str | Path] = (), runs: Path | None = None, folder: Path | None = None
) -> Desk:
    """Return the desk of a model with its ready directions, and with those of some files beside them.

    Args:
        model: the model.
        directions: files of directions or plans.
        runs: folder of run folders.
        folder: where directions are saved; `None` where nothing may be saved.

    Raises:
        InputError: for a file that is none or does not fit, or a folder of runs that is not there.
    """
    if runs is not None and not runs.is_dir():
        raise InputError(f"expected a folder of runs, got {str(runs)!r}, which is none")
    shelf = [ready_entry(each) for each in ready.load(model)]
    for path in directions:
        shelved(shelf, fitting(from_file(path), model), MOST)
    return Desk(model, Live(model), tuple(shelf), Reports(runs), folder)
