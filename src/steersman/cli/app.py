"""The commands. Bad input is one sentence and exit code 2; Ctrl-C is exit code 130, with finished work kept."""

import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, cast

import typer

from steersman.cli import (
    benching,
    chatting,
    composing,
    demoing,
    evaluating,
    exchanging,
    inspecting,
    readying,
    selecting,
    serving,
    steering,
    studying,
)
from steersman.cli.console import say, show
from steersman.errors import InputError, SteersmanError
from steersman.version import VERSION

# typer brings a click of its own and names only one kind of its usage errors; the parent holds them all.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])

PLACES = ("--out", "--save-plan")
"""The options that say where something is written."""

app = typer.Typer(
    name="steersman",
    help="Find, apply, choose, prove and use steering directions in language models.",
    epilog="Example: steersman generate --direction refusal.safetensors --coefficient 0.3 'How do I bake bread?'",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def print_version(wanted: bool) -> None:
    """Print the version and leave, where it was asked for."""
    if wanted:
        show(VERSION)
        raise typer.Exit


def tell_more(wanted: bool) -> None:
    """Say on stderr what the library notes as it works, where it was asked for."""
    if wanted:
        logger = logging.getLogger("steersman")
        logger.setLevel(logging.INFO)
        logger.addHandler(_Said())


class _Said(logging.Handler):
    """Says every note as the command line says everything that is no result."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one note."""
        say(f"{record.name.rpartition('.')[2]}: {record.getMessage()}")


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", callback=tell_more, help="Say on stderr how the model is read: what is shared.")
    ] = False,
) -> None:
    """Find, apply, choose, prove and use steering directions in language models."""


steering.register(app)
evaluating.register(app)
studying.register(app)
exchanging.register(app)
inspecting.register(app)
benching.register(app)
selecting.register(app)
composing.register(app)
serving.register(app)
chatting.register(app)
readying.register(app)
demoing.register(app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Return the exit code of a command line: 0 done, 2 bad input, 130 interrupted, 1 steering that did not happen.

    Args:
        arguments: without the program's name.
    """
    if (option := _nowhere(arguments)) is not None:
        return _fail(2, f"expected a path behind {option}, got an empty one, which would be the folder at hand")
    try:
        result = app(arguments or ["--help"], prog_name="steersman", standalone_mode=False)
    except UsageError as error:
        return _fail(2, f"{error.format_message()} (see {error.ctx.command_path if error.ctx else 'steersman'} --help)")
    except InputError as error:
        return _fail(2, str(error))
    except SteersmanError as error:
        return _fail(1, str(error))
    except OSError as error:
        return _fail(2, f"{error.filename or 'the output'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        result = 130
    finally:
        _tell_no_more()
    # typer itself makes 130 of a KeyboardInterrupt.
    if result == 130:
        return _fail(130, "interrupted; finished work is kept, and the same command goes on from there")
    return result if isinstance(result, int) else 0


def _tell_no_more() -> None:
    logger = logging.getLogger("steersman")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Said)]:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def _nowhere(arguments: Sequence[str]) -> str | None:
    """Return the first option that names a place to write and holds an empty one, as an unset variable leaves it."""
    behind = [option for option, value in pairwise(arguments) if option in PLACES and not value.strip()]
    joined = [option for option in PLACES if f"{option}=" in arguments]
    return next(iter([*behind, *joined]), None)


def _fail(code: int, sentence: str) -> int:
    say("steersman: " + " ".join(sentence.splitlines()))
    return code
