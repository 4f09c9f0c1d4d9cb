"""Tasks: samples and a scorer; every one measures its items under several settings at once, one outcome per item."""

from steersman.tasks.behaviour import BehaviourTask
from steersman.tasks.coherence import CoherenceTask
from steersman.tasks.completions import CompletionTask
from steersman.tasks.drift import DriftTask
from steersman.tasks.fluency import FluencyTask
from steersman.tasks.honesty import HonestyTask
from steersman.tasks.knowledge import KnowledgeTask
from steersman.tasks.opinion import Opinion, OpinionTask, opinions
from steersman.tasks.refusal_odds import RefusalOddsTask
from steersman.tasks.skill import SkillTask
from steersman.tasks.task import ARM_WORDS, Metric, Outcome, Setting, Task

__all__ = [
    "ARM_WORDS",
    "BehaviourTask",
    "CoherenceTask",
    "CompletionTask",
    "DriftTask",
    "FluencyTask",
    "HonestyTask",
    "KnowledgeTask",
    "Metric",
    "Opinion",
    "OpinionTask",
    "Outcome",
    "RefusalOddsTask",
    "Setting",
    "SkillTask",
    "Task",
    "opinions",
]
