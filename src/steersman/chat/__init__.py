"""The terminal chat: a conversation whose answers are steered, line by line, with commands that begin with a slash."""

from steersman.chat.loop import converse
from steersman.chat.screen import JsonScreen, Screen, TextScreen
from steersman.chat.session import Session

__all__ = ["JsonScreen", "Screen", "Session", "TextScreen", "converse"]
