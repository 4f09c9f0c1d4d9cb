"""The directions of a server: read once from its folder, and looked up by name ever after.

A request names what is here, or brings a whole plan in its body. Nothing that it says is ever made a path.
"""

import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.direction import Direction
from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Edit, Rotate
from steersman.errors import FileError, InputError
from steersman.files import load_direction, plan_in
from steersman.gates import Gate
from steersman.maths.geometry import length
from steersman.model.handle import Handle
from steersman.plan import Plan, edit_words
from steersman.range import Range
from steersman.serving.schema import GateAsked, PlanAsked, StepAsked
from steersman.where import Site, Span

logger = logging.getLogger(__name__)


class Shelf:
    """The directions that requests may name.

    Args:
        directions: by name.
        model: what they steer.

    Raises:
        InputError: for a direction that does not fit the model, by its name.
    """

    def __init__(self, directions: Mapping[str, Direction], model: Handle) -> None:
        self.directions = dict(directions)
        self.model = model
        for name, direction in self.directions.items():
            try:
                model.check(Plan(direction))
            except InputError as error:
                raise InputError(f"the direction {name!r}: {error}") from None
            if direction.origin.revision and model.revision and direction.origin.revision != model.revision:
                logger.warning("%s was fitted on %s, other weights than %s", name, direction.origin.model, model.name)

    @staticmethod
    def of_folder(folder: Path | None, model: Handle) -> "Shelf":
        """Return the shelf of a folder's direction files, each called by its file's name without the ending.

        Args:
            folder: none makes an empty shelf. Folders in it are not looked into.
            model: what they steer.

        Raises:
            FileError: for a folder that is none, or a file in it that is no direction.
            InputError: for a direction that does not fit the model.
        """
        if folder is None:
            return Shelf({}, model)
        if not folder.is_dir():
            raise FileError(f"expected a folder of direction files, got {str(folder)!r}")
        return Shelf({path.stem: load_direction(path) for path in sorted(folder.glob("*.safetensors"))}, model)

    def plan(self, steering: Sequence[StepAsked] | PlanAsked | None) -> Plan:
        """Return the plan that a request asks for.

        Raises:
            InputError: for a direction that is not here, or values that do not go together.
        """
        if steering is None:
            return Plan()
        if isinstance(steering, PlanAsked):
            try:
                plan = plan_in(base64.b64decode(steering.plan, validate=True))
            except (binascii.Error, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError("expected the content of a plan file in base64, got another text") from None
        else:
            plan = sum((self._step(step) for step in steering), Plan())
        self.model.check(plan)
        return plan

    def describe(self, name: str) -> dict[str, Any]:
        """Return what is known of one direction, as plain data.

        Raises:
            InputError: for a name that is not here.
        """
        direction = self._named(name)
        return {
            "id": name,
            "object": "steering.direction",
            "method": direction.method,
            "fitted_on": {"model": direction.origin.model, "span": direction.origin.span, "pairs": direction.origin.n},
            "units": ["norm", "raw"],
            "sites": [
                {"site": str(site), "residual_norm": direction.norms[site], "length": length(direction.vectors[site])}
                for site in direction.sites
            ],
            "recommended": next((_recommended(each) for each in direction.ranges if each.recommended), None),
            "ranges": [each.plain() for each in direction.ranges],
        }

    def _named(self, name: str) -> Direction:
        if name not in self.directions:
            known = ", ".join(list(self.directions)[:20]) or "none"
            raise InputError(f"expected a direction of this server ({known}), got {name[:80]!r}")
        return self.directions[name]

    def _step(self, asked: StepAsked) -> Plan:
        edit = _edit(asked)
        at = self._placed(asked.direction, asked.layer)
        second = None
        if edit.planar != (asked.toward is not None):
            raise InputError("expected 'toward' with the edit rotate and with no other edit")
        if asked.toward is not None:
            second = self._named(asked.toward).at(*at.sites)
        coefficient = asked.coefficient
        if coefficient is None:
            found = at.recommendation(asked.unit, edit_words(edit), str(Span.parse(asked.span)))
            if found is None or found.coefficient is None:
                raise InputError(f"expected a coefficient for {asked.direction!r}, which recommends none; give one")
            coefficient = found.coefficient
        gate = None if asked.gate is None else self._gate(asked.gate, at)
        return Plan(at, edit, span=asked.span, coefficient=coefficient, unit=asked.unit, second=second, gate=gate)

    def _placed(self, name: str, layer: int | str | Sequence[int | str] | None) -> Direction:
        direction = self._named(name)
        if layer is not None:
            places = [layer] if isinstance(layer, (int, str)) else list(layer)
            if not places:
                raise InputError("expected at least one layer, got an empty list")
            return direction.at(*(place if isinstance(place, int) else Site.parse(place) for place in places))
        if len(direction.sites) == 1:
            return direction
        best = next((each for each in direction.ranges if each.recommended), None)
        if best is None:
            raise InputError(
                f"expected a layer for {name!r}, which holds {len(direction.sites)} and recommends none; give one"
            )
        return direction.at(*best.sites)

    def _gate(self, asked: GateAsked, at: Direction) -> Gate:
        direction = self._named(asked.direction)
        place = at.sites[0] if asked.layer is None else asked.layer
        read = direction.at(Site.parse(place) if isinstance(place, str) else place)
        if len(read.sites) != 1:
            raise InputError(f"expected one site for the gate, got {len(read.sites)}; name it")
        (site,) = read.sites
        return Gate(site, read.vectors[site], asked.threshold, asked.when, asked.measure, below=asked.below)


def _recommended(found: Range) -> dict[str, Any]:
    return {
        "coefficient": found.coefficient,
        "limit": found.sign * found.limit,
        "unit": found.unit,
        "edit": found.edit,
        "span": found.span,
        "sites": [str(site) for site in found.sites],
    }


def _edit(asked: StepAsked) -> Edit:
    for name, owner in (("value", "clamp"), ("side", "clamp"), ("degrees", "rotate"), ("toward", "rotate")):
        if getattr(asked, name) is not None and asked.edit != owner:
            raise InputError(f"expected {name!r} with the edit {owner}, got it with {asked.edit}")
    if asked.edit == "clamp":
        return Clamp(asked.value or 0.0, asked.side or "both")
    if asked.edit == "rotate":
        return Rotate(90.0 if asked.degrees is None else asked.degrees)
    return {"add": Add, "add_keeping_norm": AddKeepingNorm, "ablate": Ablate}[asked.edit]()
