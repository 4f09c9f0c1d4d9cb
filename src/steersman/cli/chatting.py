"""The command to talk to a steered model: chat."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from steersman.chat import JsonScreen, Session, TextScreen, converse
from steersman.chat.commands import words_after
from steersman.chat.lines import read, typed
from steersman.chat.session import LENGTH
from steersman.cli.console import err, out, say
from steersman.cli.options import Device, Dtype, open_model
from steersman.cli.places import check_fit, direction_named
from steersman.errors import InputError
from steersman.model.generate import Sampling
from steersman.model.live import Live
from steersman.model.loaded import Model
from steersman.ready import Ready, load, ready_of, shipped, unfit

EXAMPLE = "Example: printf '/steer cheerful 0.3\\nHow was your day?\\n' | steersman chat"

Files = Annotated[
    list[str] | None,
    typer.Option("--direction", help="A direction file, or owner/name on the Hugging Face hub; several times."),
]
Folder = Annotated[
    Path | None, typer.Option("--directions", help="A folder of direction files, each known by its file's name.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("chat", epilog=EXAMPLE)(chat)


def chat(
    model: Annotated[
        str, typer.Argument(help="default, a Hugging Face id (owner/name), a folder, or a .gguf file.")
    ] = "default",
    direction: Files = None,
    directions: Folder = None,
    system: Annotated[str, typer.Option("--system", help="System prompt.")] = "",
    length: Annotated[int, typer.Option("--length", help="Tokens of an answer at most.")] = LENGTH,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token each time.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option("--repetition-penalty", help="1 is none.")] = 1.1,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws, when the temperature is above 0.")] = 0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print every answer as one line of JSON.")] = False,
) -> None:
    """Talk to a model while you steer it; /help lists the commands, and stdin may be a script of them."""
    # Everything that can be refused without the model is refused before it is loaded.
    sampling = Sampling(length, temperature, repetition_penalty=repetition_penalty, seed=seed)
    given = {Path(text).stem.partition("@")[0]: direction_named(text) for text in direction or []}
    files = {} if directions is None else shipped(directions)
    if directions is not None and not files:
        raise InputError(f"expected direction files in {str(directions)!r}, got none that ends in .safetensors")
    given = {name: direction_named(path) for name, path in files.items()} | given
    loaded = open_model(model, dtype, device)
    for name, held in given.items():
        check_fit(held, loaded, name)
    known = _known(loaded) | {name: ready_of(name, held) for name, held in given.items()}
    screen = JsonScreen(out, err) if as_json else TextScreen(out, err)
    with Live(loaded) as live:
        session = Session(live, known, sampling, system)
        if sys.stdin.isatty():
            say(f"{loaded.name}; directions: {', '.join(known) or 'none'}; /help lists the commands")
            lines = typed(lambda: _prompt(session), lambda line: words_after(session, line))
        else:
            lines = read(sys.stdin)
        converse(session, screen, lines)


def _known(model: Model) -> dict[str, Ready]:
    if sentence := unfit(model):
        say(f"note: {sentence}")
    return {each.name: each for each in load(model)}


def _prompt(session: Session) -> str:
    words = session.steering.words()
    return f"[{words}] > " if words else "> "
