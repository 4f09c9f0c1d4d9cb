"""Exchange: directions and plans in forms that others read: GGUF control vectors, Hugging Face folders, the hub."""

from steersman.exchange.baking import Baked, bake
from steersman.exchange.card import Guidance
from steersman.exchange.gguf import ControlVector, export_gguf, import_gguf
from steersman.exchange.hub import Pushed, find_direction, load_direction_from_hub, push

__all__ = [
    "Baked",
    "ControlVector",
    "Guidance",
    "Pushed",
    "bake",
    "export_gguf",
    "find_direction",
    "import_gguf",
    "load_direction_from_hub",
    "push",
]
