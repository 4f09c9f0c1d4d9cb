"""Judges: what a completion is, decided locally and in a stated way."""

from steersman.judges.coherence import Coherence, distinct_ngrams
from steersman.judges.refusal_phrases import OPENING, REFUSAL_PATTERNS, VOICE_ENDS, is_refusal

__all__ = ["OPENING", "REFUSAL_PATTERNS", "VOICE_ENDS", "Coherence", "distinct_ngrams", "is_refusal"]
