"""Options that several commands share, and how their values are read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.console import say
from steersman.errors import InputError
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.where import layers_in

ModelName = Annotated[
    str, typer.Option("--model", help="default, a Hugging Face id (owner/name), a folder, or a .gguf file.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
DirectionName = Annotated[
    str | None, typer.Option("--direction", help="A direction file, or owner/name[@revision] on the Hugging Face hub.")
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="A plan file in place of --direction, with edits, sites and coefficients of its own."),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", help="0-based layers: 14, -1, a share of the depth 0.4, 8:16, all; with commas or several times."
    ),
]
Places = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="0-based layers: 14, -1, a share of the depth 0.4, 8:16, all; or sites: head.14.3, attn_out.14; "
        "with commas or several times.",
    ),
]
SpanText = Annotated[
    str | None,
    typer.Option(
        "--span",
        help="all (if not given), prompt, generated, after_instruction, last, first(k), positions(i,j); -bos behind.",
    ),
]
UnitName = Annotated[
    str | None,
    typer.Option(
        "--unit", help="norm (if not given): fractions of the residual norm at the site; raw: multiples of the vector."
    ),
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
