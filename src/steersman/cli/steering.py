"""Commands on models and directions: models, extract, generate."""

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli import extracting, generating
from steersman.cli.console import show_json, show_table
from steersman.cli.options import AsJson
from steersman.model.sources import available


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("models", epilog="Example: steersman models --json")(models)
    app.command("extract", epilog=extracting.EXAMPLE)(extracting.extract)
    app.command("generate", epilog=generating.EXAMPLE)(generating.generate)


def models(as_json: AsJson = False) -> None:
    """List the models at hand: the default and what the Hugging Face cache holds."""
    found = available()
    if as_json:
        show_json(
            [
                {
                    "name": m.name,
                    "kind": m.kind,
                    "state": m.state,
                    "bytes": m.size_bytes,
                    "path": str(m.path or "") or None,
                }
                for m in found
            ]
        )
        return
    table = Table("name", "kind", "state", "size (MB)", box=None)
    for m in found:
        table.add_row(Text(m.name), m.kind, m.state, f"{m.size_bytes / 1e6:,.0f}")
    show_table(table)
