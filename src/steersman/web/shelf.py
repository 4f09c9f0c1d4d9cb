"""What can be steered with: directions and plans under a name, where they act, and how far their slider goes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.exchange.hub import load_direction_from_hub
from steersman.files import facts_of, load_direction, load_plan
from steersman.gates import Gate
from steersman.model.handle import Handle
from steersman.plan import Plan
from steersman.range import Slider
from steersman.ready import Ready
from steersman.where import Site

WIDER = 2.5
"""By how much a slider's ends move out when somebody wants to go beyond what is recommended."""

LONGEST = 40
"""Characters of a name."""

SPANS = {
    "all": "every token",
    "generated": "only what is written",
    "prompt": "only the prompt",
    "last": "only the prompt's last token",
}
"""The spans that the page offers, with their words."""

Norm = Callable[[int], float]
"""The mean residual norm behind a layer."""


@dataclass(frozen=True)
class Entry:
    """Something on the shelf: a direction, or a whole plan whose strength is one number.

    Args:
        name: what its slider is called; unique on a shelf.
        what: what pushing up and down does, in words; may be empty.
        held: the direction, or the plan.
    """

    name: str
    what: str
    held: Direction | Plan

    @property
    def direction(self) -> Direction | None:
        """The direction; `None` of a plan."""
        return self.held if isinstance(self.held, Direction) else None


@dataclass(frozen=True)
class Setting:
    """Where an entry acts.

    Args:
        layer: 0-based; `None` for where it was found to act best.
        span: the tokens, a key of `SPANS`.
        gated: act only in texts whose prompt reads more like the direction than ordinary prompts do.
    """

    layer: int | None = None
    span: str = "all"
    gated: bool = False


def setting_of(entry: Entry) -> Setting:
    """Return how an entry acts where nobody says: over the tokens that its range was found for."""
    known = [] if entry.direction is None else [each for each in entry.direction.ranges if each.recommended is not None]
    return Setting(span=known[0].span if known and known[0].span in SPANS else "all")


def ready_entry(ready: Ready) -> Entry:
    """Return a ready direction as an entry."""
    return Entry(ready.name, ready.title, ready.direction)


def home(direction: Direction) -> Site:
    """Return where a direction acts if nobody says: at the first recommendation, else nearest the middle."""
    for each in direction.ranges:
        if each.recommended is not None and not each.beside:
            return each.site
    middle = direction.origin.depth / 2
    return min(direction.sites, key=lambda site: (abs(site.layer - middle), site))


def placed(direction: Direction, layer: int | None, norm: Norm) -> Direction:
    """Return a direction at the one site where it is to act; one that it does not hold takes the vector of its home.

    Args:
        direction: with any number of sites.
        layer: 0-based; `None` for its home.
        norm: tells the mean residual norm of a layer that the direction does not hold.
    """
    at = home(direction)
    if layer is None or layer == at.layer:
        return direction.at(at)
    held = [site for site in direction.sites if site.layer == layer]
    if held:
        return direction.at(next((site for site in held if site.point == at.point), held[-1]))
    return direction.at(at).moved(layer, norm(layer))


def slider_of(entry: Entry, setting: Setting, norm: Norm) -> Slider:
    """Return how far an entry's slider goes where it acts; a plan goes from nothing to twice itself."""
    if entry.direction is None:
        return Slider(0.0, 2.0, 1.0, known=True)
    return placed(entry.direction, setting.layer, norm).slider(span=setting.span)


def plan_of(entry: Entry, setting: Setting, coefficient: float, norm: Norm, gate: Gate | None = None) -> Plan:
    """Return the plan of one entry at one strength; the empty one at 0.

    Args:
        entry: what steers.
        setting: where; of a plan, which knows its places itself, nothing.
        coefficient: fraction of the residual norm; of a plan, a factor.
        norm: see `placed`.
        gate: acts only where it fires.
    """
    if not coefficient:
        return Plan()
    if isinstance(entry.held, Plan):
        return entry.held.scaled(coefficient)
    own = placed(entry.held, setting.layer, norm)
    return Plan(own, span=setting.span, coefficient=coefficient, gate=gate)


def fitting(entry: Entry, model: Handle) -> Entry:
    """Return the entry where it fits the model.

    Raises:
        MismatchError: where it was made for another width or depth.
    """
    plan = Plan(entry.held) if isinstance(entry.held, Direction) else entry.held
    model.check(plan)
    return entry


def from_file(path: str | Path, name: str = "") -> Entry:
    """Return what a direction or plan file holds, under its name or another one.

    Raises:
        FileError: for a file that is neither, or is damaged.
    """
    own = Path(path)
    if own.suffix != ".safetensors":
        raise FileError(f"expected a direction or plan that steersman saved (.safetensors), got {own.name[:60]!r}")
    try:
        held = load_plan(own) if _is_plan(own) else load_direction(own)
    except FileError as error:
        # An uploaded file lies where nobody put it: its name alone means something.
        raise FileError(str(error).replace(str(own), own.name)) from None
    return Entry(named(name or own.stem), "", held)


def _is_plan(path: Path) -> bool:
    try:
        facts_of(path, "steersman plan")
    except FileError:
        return False
    return True


def from_hub(address: str) -> Entry:
    """Return the direction in a hub repository `owner/name[@revision]`.

    Raises:
        InputError: for an address that is none.
        FileError: for what is not there or cannot be reached.
    """
    text = address.strip()
    if not text:
        raise InputError("expected a repository on the Hugging Face hub as owner/name, got nothing")
    return Entry(named(text.split("/")[-1].partition("@")[0]), "", load_direction_from_hub(text))


def named(text: str) -> str:
    """Return a name that fits on a slider and in a file name.

    Raises:
        InputError: where nothing is left of it.
    """
    kept = "".join(letter if letter.isalnum() or letter in " -_." else " " for letter in text)
    name = " ".join(kept.split()).strip(". ")[:LONGEST].strip()
    if not name:
        raise InputError(f"expected a name with a letter or digit in it, got {text[:40]!r}")
    return name


def shelved(shelf: list[Entry], entry: Entry, most: int) -> Entry:
    """Put an entry on a shelf and return it, under a name that no other one has.

    Raises:
        InputError: where the shelf is full.
    """
    if len(shelf) >= most:
        raise InputError(f"expected at most {most} directions on the page, got one more; reload the page to begin anew")
    names, name, number = {each.name for each in shelf}, entry.name, 2
    while name in names:
        name, number = f"{entry.name} {number}", number + 1
    own = Entry(name, entry.what, entry.held)
    shelf.append(own)
    return own
