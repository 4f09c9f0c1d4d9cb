"""Estimators: activations in, a direction out; one per file, blind to each other.

Each is a frozen value with `fit(activations) -> Direction`. `METHODS` names them for the command line.
"""

from steersman.methods.centred_mean import CentredMean
from steersman.methods.fitting import Method, massive_warning
from steersman.methods.lat import LAT
from steersman.methods.lda import LDA
from steersman.methods.logistic import LogisticProbe
from steersman.methods.mean_difference import MeanDifference
from steersman.methods.pca_center import PCACenter
from steersman.methods.pca_diff import PCADiff

METHODS: dict[str, type[Method]] = {
    "mean_difference": MeanDifference,
    "pca_center": PCACenter,
    "pca_diff": PCADiff,
    "lat": LAT,
    "logistic": LogisticProbe,
    "lda": LDA,
    "centred_mean": CentredMean,
}

__all__ = [
    "LAT",
    "LDA",
    "METHODS",
    "CentredMean",
    "LogisticProbe",
    "MeanDifference",
    "Method",
    "PCACenter",
    "PCADiff",
    "massive_warning",
]
