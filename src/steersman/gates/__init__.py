"""Gates: does a step act in this row, at this token? Blind to edits and plans."""

from steersman.gates.fitting import GateFit, GateRates, fit_gate, gate_rates
from steersman.gates.gate import Gate

__all__ = ["Gate", "GateFit", "GateRates", "fit_gate", "gate_rates"]
