"""Judges: what a completion is, decided in a stated way: by phrases, by a local model, or by an LLM at an endpoint."""

from steersman.judges.classifier import ClassifierJudge, load_classifier
from steersman.judges.coherence import Coherence, distinct_ngrams
from steersman.judges.endpoint import Endpoint
from steersman.judges.guard import GuardJudge, load_guard
from steersman.judges.judge import Exchange, Judge, Metric, Verdict
from steersman.judges.llm import Cost, EndpointJudge, Patience
from steersman.judges.naming import FORMS, judge_named
from steersman.judges.odds import OddsJudge
from steersman.judges.phrases import PhraseJudge
from steersman.judges.refusal_phrases import (
    DISCLAIMER_PATTERNS,
    OFFER_PATTERNS,
    OPENING,
    REFUSAL_PATTERNS,
    VOICE_ENDS,
    is_disclaimer,
    is_firm_refusal,
    is_refusal,
)

__all__ = [
    "DISCLAIMER_PATTERNS",
    "FORMS",
    "OFFER_PATTERNS",
    "OPENING",
    "REFUSAL_PATTERNS",
    "VOICE_ENDS",
    "ClassifierJudge",
    "Coherence",
    "Cost",
    "Endpoint",
    "EndpointJudge",
    "Exchange",
    "GuardJudge",
    "Judge",
    "Metric",
    "OddsJudge",
    "Patience",
    "PhraseJudge",
    "Verdict",
    "distinct_ngrams",
    "is_disclaimer",
    "is_firm_refusal",
    "is_refusal",
    "judge_named",
    "load_classifier",
    "load_guard",
]
