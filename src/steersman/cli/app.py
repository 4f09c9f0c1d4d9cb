"""The commands. Bad input is one sentence and exit code 2; Ctrl-C is exit code 130, with finished work kept."""

import sys
from typing import Annotated

import click
import typer

from steersman.cli import steering, studying
from steersman.cli.console import say, show
from steersman.errors import InputError, SteersmanError
from steersman.version import VERSION

app = typer.Typer(
    name="steersman",
    help="Find, apply, choose, prove and use steering directions in language models.",
    epilog="Example: steersman generate --direction refusal.safetensors --coefficient 0.3 'How do I bake bread?'",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def top(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Find, apply, choose, prove and use steering directions in language models."""
    if version:
        show(VERSION)
        raise typer.Exit


steering.register(app)
studying.register(app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Return the exit code of a command line: 0 done, 2 bad input, 130 interrupted, 1 steering that did not happen.

    Args:
        arguments: without the program's name.
    """
    try:
        result = app(arguments, standalone_mode=False)
    except InputError as error:
        say(f"steersman: {error}")
        return 2
    except SteersmanError as error:
        say(f"steersman: {error}")
        return 1
    except click.UsageError as error:
        hint = f" (see steersman {error.ctx.info_name or ''} --help)" if error.ctx else ""
        say(f"steersman: {error.format_message()}{hint}")
        return 2
    except (KeyboardInterrupt, click.Abort):
        say("steersman: interrupted; finished work is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0
