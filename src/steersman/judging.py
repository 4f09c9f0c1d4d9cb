"""Judging: what further judges say of completions that were measured before, and how far they agree."""
