"""Judges: what a completion is, decided locally and in a stated way."""

from steersman.judges.coherence import Coherence, distinct_ngrams
from steersman.judges.refusal_phrases import REFUSAL_PATTERNS, is_refusal

__all__ = ["REFUSAL_PATTERNS", "Coherence", "distinct_ngrams", "is_refusal"]
