"""Errors as sentences for people, and the strip in which the page says them."""

import html
import logging

from steersman.errors import SteersmanError

logger = logging.getLogger(__name__)

UNFORESEEN = "Something went wrong that nobody foresaw ({kind}); the terminal that started the demo says more."


def sentence(error: BaseException) -> str:
    """Return what to tell a person of an error: its own words where steersman raised it, a calm sentence where not.

    What was not foreseen is written to the log with its traceback, and never shown.
    """
    if isinstance(error, SteersmanError):
        words = " ".join(str(error).split())
        words = words[:1].upper() + words[1:]
        return words if words.endswith((".", "!", "?")) else f"{words}."
    logger.error("the demo met an error", exc_info=error)
    return UNFORESEEN.format(kind=type(error).__name__)


def alert(words: str) -> str:
    """Return the HTML of a sentence about something that did not work; nothing for no words."""
    return _strip(words, "alert", "bad") if words else ""


def warning(sentences: list[str]) -> str:
    """Return the HTML of warnings, one a line; nothing for none."""
    lines = "<br>".join(map(html.escape, sentences))
    return f'<div class="strip warn" role="status">{lines}</div>' if sentences else ""


def said(words: str) -> str:
    """Return the HTML of a sentence about something that worked; nothing for no words."""
    return _strip(words, "status", "good") if words else ""


def _strip(words: str, role: str, kind: str) -> str:
    return f'<div class="strip {kind}" role="{role}">{html.escape(words)}</div>'
