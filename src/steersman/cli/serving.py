"""The command that serves: an OpenAI-compatible server whose requests may be steered."""

import os
from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.console import say
from steersman.cli.options import Device, Dtype, open_model
from steersman.errors import InputError

KEY = "STEERSMAN_API_KEY"
EXAMPLE = "Example: steersman serve --directions directions --port 8000"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("serve", epilog=EXAMPLE)(serve)


def serve(
    model: Annotated[
        str, typer.Argument(help="default, a Hugging Face id (owner/name), a folder, or a .gguf file.")
    ] = "default",
    directions: Annotated[
        Path | None,
        typer.Option("--directions", help="Folder of the direction files that requests may name; no other is opened."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to bind to; other machines reach it only if told.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.")] = 8000,
    most: Annotated[int, typer.Option("--most", help="Answers under way at a time at most.")] = 64,
    queue: Annotated[int, typer.Option("--queue", help="Requests that wait at most; further ones get 429.")] = 256,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Tokens of an answer at most, and where a request does not say.")
    ] = 1024,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that a request may take at most.")] = 300.0,
    max_body: Annotated[int, typer.Option("--max-body", help="Bytes of a request's body at most.")] = 4 * 2**20,
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> None:
    """Serve a model by the OpenAI API, each request steered in a way of its own.

    Where STEERSMAN_API_KEY is set, clients have to show it.
    """
    try:
        # An extra.
        from steersman.serving import Server, Settings, Shelf
        from steersman.serving import serve as run
        from steersman.serving.settings import LOOPBACK
    except ModuleNotFoundError as error:
        raise InputError(
            f"expected the packages of the server, and {error.name} is missing: pip install 'steersman[serve]'"
        ) from None
    key = os.environ.get(KEY, "").strip()
    settings = Settings(
        host, port, most=most, queue=queue, max_tokens=max_tokens, timeout=timeout, body=max_body, key=key
    )
    if directions is not None and not directions.is_dir():
        raise InputError(f"expected a folder behind --directions, got {str(directions)!r}")
    loaded = open_model(model, dtype, device)
    shelf = Shelf.of_folder(directions, loaded)
    server = Server(
        loaded, shelf, settings, model, announce=lambda address: say(f"serving {loaded.name} at {address}/v1")
    )
    if host not in LOOPBACK and not key:
        say(f"warning: anybody who reaches {host} may ask; set {KEY} to let in only those who know it")
    say(f"directions: {', '.join(shelf.directions) or 'none'}")
    run(server)
