"""The command line: parse, call one verb, print."""

from steersman.cli.app import main

__all__ = ["main"]
