"""Studies: the verbs in order, as data; a run folder that resumes."""

from steersman.studies.config import StudyConfig, read_config
from steersman.studies.refusal import run_refusal

__all__ = ["StudyConfig", "read_config", "run_refusal"]
