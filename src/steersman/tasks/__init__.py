"""Tasks: samples and a scorer; every one measures one setting on its items and returns one outcome per item."""

from steersman.tasks.completions import CompletionTask
from steersman.tasks.fluency import FluencyTask
from steersman.tasks.honesty import HonestyTask
from steersman.tasks.knowledge import KnowledgeTask
from steersman.tasks.refusal_odds import RefusalOddsTask
from steersman.tasks.task import ARM_WORDS, Metric, Outcome, Setting, Task

__all__ = [
    "ARM_WORDS",
    "CompletionTask",
    "FluencyTask",
    "HonestyTask",
    "KnowledgeTask",
    "Metric",
    "Outcome",
    "RefusalOddsTask",
    "Setting",
    "Task",
]
