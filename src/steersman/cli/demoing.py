"""The command that opens the web demo: demo."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.console import say, show
from steersman.cli.options import Device, Dtype, ModelName, open_model
from steersman.errors import InputError

INSTALL = "pip install 'steersman[demo]'"
EXAMPLE = "Example: steersman demo --port 7860 --runs runs"

Directions = Annotated[
    list[Path] | None,
    typer.Option("--direction", help="A direction or plan file to put on the page; may be given several times."),
]
Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of finished runs whose reports can be read there.")]
Folder = Annotated[
    Path, typer.Option("--save-to", help="Folder for directions that are made on the page and saved there.")
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; this machine alone, where not given.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Opened = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo", epilog=EXAMPLE)(demo)


def demo(
    model: ModelName = "default",
    directions: Directions = None,
    runs: Runs = None,
    folder: Folder = Path("directions"),
    host: Host = "127.0.0.1",
    port: Port = 7860,
    opened: Opened = True,
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> None:
    """Open a local page to steer a model with sliders, see what it does to every word, and make directions."""
    try:
        from steersman.web.desk import open_desk
        from steersman.web.serving import check_free, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("gradio", "fastapi", "uvicorn"):
            raise
        raise InputError(f"expected the extra demo for the page, which is not installed; {INSTALL}") from None
    if runs is not None and not runs.is_dir():
        raise InputError(f"expected a folder of runs for --runs, got {str(runs)!r}, which is none")
    check_free(host, port)
    loaded = open_model(model, dtype, device)
    desk = open_desk(loaded, directions=directions or [], runs=runs, folder=folder)

    def ready(address: str) -> None:
        show(address)
        say("the page is open to this machine alone; Ctrl-C ends it" if host == "127.0.0.1" else "Ctrl-C ends it")
        if opened:
            typer.launch(address)

    serve(desk, host=host, port=port, ready=ready)
