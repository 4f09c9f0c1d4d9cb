"""Ready directions: six for the default model, each at its place and with its range; and how they are made.

ready.load(model) gives those that fit a model, ready.make makes one for another model, ready.prove measures one on
prompts that nothing was chosen on.
"""

from steersman.ready.loading import Ready, fits, load, names, ready_of, shipped, unfit
from steersman.ready.making import make
from steersman.ready.proving import Proof, prove

__all__ = ["Proof", "Ready", "fits", "load", "make", "names", "prove", "ready_of", "shipped", "unfit"]
