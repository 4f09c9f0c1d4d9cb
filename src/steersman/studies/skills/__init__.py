"""The skills study: a broad skill removed by steering, another kept, and how selective that is."""

from steersman.studies.skills.config import SkillsConfig
from steersman.studies.skills.run import run_skills

__all__ = ["SkillsConfig", "run_skills"]
