"""Engines: what runs prompts under plans. `Model` is one; others stand beside it."""

from steersman.engines.protocol import Engine

__all__ = ["Engine"]
