"""steersman: find, apply, choose, prove and use steering directions in language models."""
