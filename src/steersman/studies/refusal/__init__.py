"""The refusal study: a direction that makes a model refuse what is harmful, chosen within a budget, with its costs."""

from steersman.studies.refusal.config import RefusalConfig
from steersman.studies.refusal.run import run_refusal

__all__ = ["RefusalConfig", "run_refusal"]
