"""Options that several commands share, and how their values are read."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from steersman.cli.console import say
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.where import layers_in

ModelName = Annotated[
    str, typer.Option("--model", help="default, a Hugging Face id (owner/name), a folder, or a .gguf file.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
DirectionName = Annotated[
    str, typer.Option("--direction", help="A direction file, or owner/name[@revision] on the Hugging Face hub.")
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", help="0-based layers: 14, -1, a share of the depth 0.4, 8:16, all; with commas or several times."
    ),
]
SpanText = Annotated[
    str,
    typer.Option(
        "--span", help="all, prompt, generated, after_instruction, last, first(k), positions(i,j); -bos behind."
    ),
]
UnitName = Annotated[
    str, typer.Option("--unit", help="norm: fractions of the residual norm at the site; raw: multiples of the vector.")
]


def open_model(name: str, dtype: str, device: str) -> Model:
    """Return the model, saying what is slow about getting it."""
    return load(name, dtype=dtype, device=device, notify=say)


def layers_asked(layers: list[str] | None, model: Model) -> list[int] | None:
    """Return the 0-based layers that the --layer options name; nothing where none was given.

    Raises:
        InputError: for a layer that the model lacks, or a text that names none.
    """
    return layers_in(",".join(layers), model.depth) if layers else None


def direction_at(direction: Direction, layers: list[str] | None, model: Model) -> Direction:
    """Return a direction at the layers asked for, `all` being those it holds; at the usual layer where none is.

    Raises:
        InputError: for a layer that the direction does not hold, or one made for another model's width.
    """
    model.check(Plan(direction))
    if layers == ["all"]:
        chosen = direction
    else:
        chosen = direction.at(*(layers_asked(layers, model) or [usual_layer(direction)]))
    if direction.origin.revision and model.revision and direction.origin.revision != model.revision:
        say(f"note: the direction was fitted on {direction.origin.model}, other weights than {model.name}")
    return chosen


def usual_layer(direction: Direction) -> int:
    """Return the layer nearest to 40 % of the depth, where steering usually works best, among those held."""
    target = 0.4 * direction.origin.depth
    return min(direction.sites, key=lambda site: abs(site.layer - target)).layer


def one_of(option: str, value: str, choices: Iterable[str]) -> Any:
    """Return an option's value where it is one of its choices.

    Raises:
        InputError: where it is not.
    """
    known = list(choices)
    if value not in known:
        raise InputError(f"expected {option} to be one of {', '.join(known)}, got {value!r}")
    return value


def numbers(text: str, what: str) -> list[float]:
    """Return the comma-separated numbers in a text.

    Raises:
        InputError: when one is not a number.
    """
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"expected {what} as numbers with commas between, such as 0.1,0.2, got {text!r}") from None


def assignments(texts: list[str] | None) -> dict[str, str]:
    """Return NAME=PATH options as a mapping.

    Raises:
        InputError: for one without a name or a path.
    """
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f"expected --set NAME=PATH, got {text!r}")
        pairs[name] = path
    return pairs
