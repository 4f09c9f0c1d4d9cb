"""Judges: what a completion is, decided locally and in a stated way."""

from steersman.judges.coherence import Coherence, distinct_ngrams
from steersman.judges.refusal_phrases import (
    DISCLAIMER_PATTERNS,
    OPENING,
    REFUSAL_PATTERNS,
    VOICE_ENDS,
    is_disclaimer,
    is_refusal,
)

__all__ = [
    "DISCLAIMER_PATTERNS",
    "OPENING",
    "REFUSAL_PATTERNS",
    "VOICE_ENDS",
    "Coherence",
    "distinct_ngrams",
    "is_disclaimer",
    "is_refusal",
]
