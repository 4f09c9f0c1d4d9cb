"""steersman: find, apply, choose, prove and use steering directions in language models.

import steersman as sm

model = sm.load()
direction = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal")))
with sm.steer(model, sm.Plan(direction.at(11), coefficient=0.3)):
...  # any Hugging Face call on model.hf is steered here
"""

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.edits import Add
from steersman.engines import Engine
from steersman.errors import InputError, InterventionError, SteersmanError
from steersman.evaluation import Report, evaluate
from steersman.files import load_direction, save_direction
from steersman.intervention import steer
from steersman.learning import Optimiser, optimise
from steersman.methods import MeanDifference
from steersman.model.load import load, wrap
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Example, Pair, pairs
from steersman.recording import record
from steersman.tasks import Setting, Task
from steersman.version import VERSION as __version__
from steersman.where import Site

__all__ = [
    "Activations",
    "Add",
    "Direction",
    "Engine",
    "Example",
    "InputError",
    "InterventionError",
    "MeanDifference",
    "Model",
    "Optimiser",
    "Pair",
    "Plan",
    "Report",
    "Setting",
    "Site",
    "SteersmanError",
    "Task",
    "__version__",
    "evaluate",
    "load",
    "load_direction",
    "optimise",
    "pairs",
    "record",
    "save_direction",
    "steer",
    "wrap",
]
