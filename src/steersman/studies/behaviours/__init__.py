"""The behaviours study: single behaviours over layers and coefficients, and all of them at once, with the price."""

from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.eligibility import Responses, response_scores
from steersman.studies.behaviours.run import run_behaviours

__all__ = ["BehavioursConfig", "Responses", "response_scores", "run_behaviours"]
