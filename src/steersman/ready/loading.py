"""Ready directions: fitted, placed and measured beforehand, so that a person can begin to steer at once."""

import math
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from steersman.direction import Direction
from steersman.errors import InputError
from steersman.files import load_direction
from steersman.model.handle import Handle
from steersman.plan import Plan
from steersman.range import Range, Slider
from steersman.ready.concepts import CONCEPTS
from steersman.where import Site, Span

UNIT = "norm"
EDIT = "add"


@dataclass(frozen=True)
class Ready:
    """A direction at its one place, with what a person has to know to turn it up or down.

    Args:
        name: what it is called in commands.
        up: what a positive coefficient does, in a few words; empty where nobody said.
        down: what a negative one does.
        held: at all the sites that its file holds, with their ranges.
        site: where it acts.
    """

    name: str
    up: str
    down: str
    held: Direction
    site: Site

    @property
    def direction(self) -> Direction:
        """The direction where it acts."""
        return self.held.at(self.site)

    @property
    def title(self) -> str:
        """What both ways do, in one line; the name where nobody said."""
        return " / ".join(words for words in (self.up, self.down) if words) or self.name

    @property
    def span(self) -> str:
        """The tokens that its range was found for; `all` where none is known."""
        known = [each for each in self.direction.ranges if (each.unit, each.edit) == (UNIT, EDIT)]
        known.sort(key=lambda each: (each.recommended is None, -each.sign))
        return known[0].span if known else "all"

    @property
    def slider(self) -> Slider:
        """Between which coefficients (fractions of the residual norm) the text stays coherent, and where to begin."""
        return self.direction.slider(UNIT, EDIT, self.span)

    @property
    def start(self) -> float:
        """The recommended coefficient; 0 where there is none."""
        return self.slider.start

    def range(self, sign: int = 1) -> Range | None:
        """Return what is known of a sign's coefficients: recommended, onset, alarm; None where nothing is.

        Args:
            sign: 1 or -1.
        """
        return self.direction.range_for(self.site, sign, UNIT, EDIT, self.span)

    def at(self, place: int | float | Site) -> "Ready":
        """Return it at another place, where that is one of those that its file holds.

        Args:
            place: a site, a layer, or a share of the depth.

        Raises:
            InputError: for a place that it does not hold, or several.
        """
        sites = self.held.at(place).sites
        if len(sites) > 1:
            raise InputError(f"expected one site for {self.name!r}, got {len(sites)}, such as {sites[0]}")
        return replace(self, site=sites[0])

    def plan(self, coefficient: float | None = None, *, span: str | Span | None = None) -> Plan:
        """Return the plan that adds so much of it; at 0 the empty one.

        Args:
            coefficient: in fractions of the residual norm, signed; the recommended one where not given.
            span: the tokens to steer; those that its range was found for where not given.

        Raises:
            InputError: for a coefficient that is not finite, or none where none is recommended.
        """
        value = self.start if coefficient is None else float(coefficient)
        if coefficient is None and not value:
            raise InputError(f"expected a coefficient for {self.name!r}, whose file recommends none")
        if not math.isfinite(value):
            raise InputError(f"expected a finite coefficient for {self.name!r}, got {value}")
        return Plan(self.direction, span=span or self.span, coefficient=value, unit=UNIT) if value else Plan()


def names() -> list[str]:
    """Return the names of the six ready directions, in the order in which they are shown."""
    return list(CONCEPTS)


def load(model: Handle, folder: str | Path | None = None) -> list[Ready]:
    """Return the ready directions that fit a model: all six for the default one, none for most others.

    A direction belongs to the weights it was fitted on, whatever their type: another model of the same shape gets none.
    `unfit` says why there is none, and `make` makes them.

    Args:
        model: the model.
        folder: with files `NAME.safetensors` as `make` writes them; those that come with steersman where not given.

    Raises:
        FileError: for a file in the folder that is damaged or no direction.
    """
    found: list[Ready] = []
    for name, path in shipped(folder).items():
        direction = load_direction(path)
        if fits(direction, model):
            found.append(ready_of(name, direction))
    return found


def unfit(model: Handle) -> str:
    """Return in a sentence why there is no ready direction for a model, and how to make them; empty where there is."""
    if load(model):
        return ""
    return (
        f"the ready directions that come with steersman were fitted on the default model, not on {model.name}; make "
        f"them for it with: steersman ready --make --model {model.name} --out FOLDER"
    )


def shipped(folder: str | Path | None = None) -> dict[str, Path]:
    """Return the ready directions' files by name, in the order in which they are shown, then by name.

    Args:
        folder: where they lie; where those that come with steersman lie, where not given.

    Raises:
        InputError: for a folder that is not there.
    """
    root = Path(str(resources.files("steersman"))) / "data" / "ready" if folder is None else Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"expected a folder of directions, got {str(root)!r}, which is none")
    files = {path.stem: path for path in sorted(root.glob("*.safetensors"))}
    known = [name for name in CONCEPTS if name in files]
    return {name: files[name] for name in (*known, *(name for name in files if name not in CONCEPTS))}


def fits(direction: Direction, model: Handle) -> bool:
    """Return whether a direction was fitted on a model's weights; where either does not say, whether the shapes agree.

    Args:
        direction: the direction.
        model: the model.
    """
    origin = direction.origin
    if (origin.width, origin.depth) != (model.width, model.depth):
        return False
    return not (origin.revision and model.revision) or origin.revision == model.revision


def ready_of(name: str, direction: Direction) -> Ready:
    """Return any direction under a name, to act at one site: where its file recommends it, else near 40 % of the depth.

    Args:
        name: what to call it; one of `names()` has its words.
        direction: with one site or several.
    """
    concept = CONCEPTS.get(name)
    known = [each for each in direction.ranges if (each.unit, each.edit, each.beside) == (UNIT, EDIT, ())]
    best = next((each.site for each in known if each.recommended is not None), None)
    target = 0.4 * direction.origin.depth
    site = best or min(direction.sites, key=lambda site: (abs(site.layer - target), site))
    return Ready(name, concept.up if concept else "", concept.down if concept else "", direction, site)
