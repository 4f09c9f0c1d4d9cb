"""steersman: find, apply, choose, prove and use steering directions in language models.

import steersman as sm

model = sm.load()
direction = sm.MeanDifference().fit(sm.record(model, sm.pairs("refusal")))
with sm.steer(model, sm.Plan(direction.at(12), coefficient=0.3)):
...  # any Hugging Face call on model.hf is steered here
"""

from steersman import composition as composition
from steersman import exchange as exchange
from steersman import inspection as inspection
from steersman import recipes as recipes
from steersman import selection as selection
from steersman import streaming as streaming
from steersman.activations import Activations
from steersman.builders import persona_pairs
from steersman.direction import Direction
from steersman.edits import Ablate, Add
from steersman.errors import InputError, InterventionError, SteersmanError
from steersman.evaluation import evaluate
from steersman.files import load_direction, load_plan, save_direction, save_plan
from steersman.intervention import steer
from steersman.learning import Optimiser, optimise
from steersman.methods import MeanDifference
from steersman.model.load import load, wrap
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Example, Pair, pairs
from steersman.recording import record, record_texts
from steersman.selecting import select
from steersman.version import VERSION as __version__
from steersman.where import Site, Span

__all__ = [
    "Ablate",
    "Activations",
    "Add",
    "Direction",
    "Example",
    "InputError",
    "InterventionError",
    "MeanDifference",
    "Model",
    "Optimiser",
    "Pair",
    "Plan",
    "Site",
    "Span",
    "SteersmanError",
    "__version__",
    "evaluate",
    "load",
    "load_direction",
    "load_plan",
    "optimise",
    "pairs",
    "persona_pairs",
    "record",
    "record_texts",
    "save_direction",
    "save_plan",
    "select",
    "steer",
    "wrap",
]
