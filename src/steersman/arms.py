"""Arms: what a steered model is compared with."""
