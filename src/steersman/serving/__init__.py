"""A server that speaks the OpenAI API, whose requests may each be steered in a way of its own."""

from steersman.serving.app import make_app
from steersman.serving.running import Server, serve
from steersman.serving.settings import Settings
from steersman.serving.shelf import Shelf

__all__ = ["Server", "Settings", "Shelf", "make_app", "serve"]
