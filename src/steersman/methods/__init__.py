"""Estimators: activations in, a direction out; one per file, blind to each other."""

from steersman.methods.mean_difference import MeanDifference

__all__ = ["MeanDifference"]
