"""What a benchmark steers with: the command line's words, said as `name=value`.

`--direction F --layer 12 --coefficient 0.3` on steersman's own command line is `direction=F layer=12 coefficient=0.3`
in the model arguments of lm-evaluation-harness (`--model_args`) and of Inspect (`-M`). What these words cannot say (a
clamp, a rotation, a gate, several directions) a plan file says: `steersman generate --save-plan FILE` writes one.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.direction import Direction
from steersman.edits import Ablate, Add, AddKeepingNorm, Edit
from steersman.errors import InputError
from steersman.exchange import find_direction
from steersman.files import load_plan
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.version import VERSION
from steersman.where import Site, layers_in

logger = logging.getLogger(__name__)

EDITS: Mapping[str, tuple[Edit, float]] = {
    "add": (Add(), 0.3),
    "add_keeping_norm": (AddKeepingNorm(), 0.3),
    "ablate": (Ablate(), 1.0),
}
"""The edits that a word can name, and the coefficient of each where none is given, as on the command line."""

WORDS = ("direction", "plan", "layer", "coefficient", "unit", "span", "edit")
OF_DIRECTION = WORDS[2:]


@dataclass(frozen=True)
class Steered:
    """A model and what is done to it.

    Args:
        model: the model.
        plan: what is done to its activations; empty where nothing was asked for.
        source: the file or hub name that the plan came from, for logs; empty without one.
    """

    model: Model
    plan: Plan
    source: str = ""

    @property
    def identity(self) -> str:
        """Everything that an answer depends on besides the question: model, weights, template, type, plan."""
        return f"{self.model.identity}|{self.plan.digest()}"

    def facts(self) -> dict[str, Any]:
        """Return what a log has to say of it, as plain data."""
        return {
            "version": VERSION,
            "model": self.model.name,
            "revision": self.model.revision,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "source": self.source,
            "plan": self.plan.describe(),
            "digest": self.plan.digest(),
        }


def steered(model: str, arguments: Mapping[str, Any], *, dtype: str = "auto", device: str = "auto") -> Steered:
    """Return the model and the plan that model arguments name; the plan is read before the model is loaded.

    Args:
        model: `default`, a Hugging Face id, a folder or a `.gguf` file.
        arguments: those of `WORDS` that were given; none at all leaves the model unsteered.
        dtype: as in `load`.
        device: as in `load`.

    Raises:
        InputError: for words that are unknown, do not go together or are out of range.
        FileError: for a file that is missing, damaged or of another kind.
        ModelError: for a model that cannot be loaded.
        MismatchError: for a plan made for another model.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    plan, held = _plan(given)
    loaded = load(model, dtype=dtype, device=device, notify=logger.info)
    loaded.check(plan)
    if held and held.origin.revision and loaded.revision and held.origin.revision != loaded.revision:
        logger.warning("the direction was fitted on %s, other weights than %s", held.origin.model, loaded.name)
    return Steered(loaded, plan, str(given.get("direction", given.get("plan", ""))))


def plan_from(arguments: Mapping[str, Any]) -> Plan:
    """Return the plan that model arguments name, read and checked without any model; see `steered`."""
    return _plan({name: value for name, value in arguments.items() if value is not None})[0]


def _plan(given: Mapping[str, Any]) -> tuple[Plan, Direction | None]:
    """Return the plan, and the direction that it came from where it came from one."""
    if unknown := sorted(set(given) - set(WORDS)):
        raise InputError(
            f"expected model arguments among {', '.join(WORDS)}, got {', '.join(unknown)}; what they cannot say, a "
            "plan file can: steersman generate --save-plan FILE writes one, and plan=FILE takes it"
        )
    settings = [name for name in OF_DIRECTION if name in given]
    if "plan" in given:
        if beside := [name for name in given if name != "plan"]:
            raise InputError(f"expected plan=FILE alone, which has its own settings, got {', '.join(beside)} beside it")
        held = load_plan(str(given["plan"]))
        if not any(step.coefficient for step in held):
            raise InputError(f"expected a plan that does something in {str(given['plan'])!r}, got coefficient 0 in all")
        return held, None
    if "direction" not in given:
        if settings:
            raise InputError(f"expected direction=FILE beside {', '.join(settings)}, got none")
        return Plan(), None
    direction = find_direction(str(given["direction"]))
    name = str(given.get("edit", "add"))
    if name not in EDITS:
        raise InputError(f"expected edit to be one of {', '.join(EDITS)}, got {name!r}; others come in a plan=FILE")
    edit, usual = EDITS[name]
    plan = Plan(
        sites_named(direction, given.get("layer")),
        edit,
        span=str(given.get("span", "all")),
        coefficient=_number(given.get("coefficient", usual)),
        unit=str(given.get("unit", "norm")),
    )
    return plan, direction


def sites_named(direction: Direction, layer: object) -> Direction:
    """Return a direction at the places that `layer` names, by the rules of the command line's --layer.

    Args:
        direction: with the depth that layers are counted in.
        layer: 14, -1, a share of the depth 0.4, a range `8:16`, a site `attn_out.14`, `all`, or several of them in a
            list or with commas; `None` for the layer nearest to 40 % of the depth among those that it holds.

    Raises:
        InputError: for what is no place, or one that the direction does not hold.
    """
    texts = [layer] if isinstance(layer, str) or not isinstance(layer, Sequence) else list(layer)
    parts = [part.strip() for text in texts if text is not None for part in str(text).split(",") if part.strip()]
    if not parts:
        target = 0.4 * direction.origin.depth
        return direction.at(min(direction.sites, key=lambda site: abs(site.layer - target)).layer)
    if "all" in parts:
        return direction
    places: list[int | Site] = []
    for part in parts:
        if part[:1].isalpha() and "." in part:
            places.append(Site.parse(part))
        else:
            places += layers_in(part, direction.origin.depth)
    return direction.at(*places)


def _number(value: object) -> float:
    try:
        if not isinstance(value, bool):
            return float(str(value))
    except ValueError:
        pass
    raise InputError(f"expected a number for coefficient, got {value!r}")
