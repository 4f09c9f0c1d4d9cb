"""Studies: the verbs in order, as data; a run folder that resumes. One package for each kind of study."""

from steersman.studies.configuring import StudyConfig
from steersman.studies.refusal import RefusalConfig, run_refusal
from steersman.studies.running import KINDS, read_config, run_study
from steersman.studies.skills import SkillsConfig, run_skills

__all__ = [
    "KINDS",
    "RefusalConfig",
    "SkillsConfig",
    "StudyConfig",
    "read_config",
    "run_refusal",
    "run_skills",
    "run_study",
]
