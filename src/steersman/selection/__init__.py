"""Selection: where to steer and how strongly, on validation data; what is measured is passed in."""

from steersman.selection.baselines import at_depth, best_auroc, largest_norm
from steersman.selection.budget import Budget
from steersman.selection.candidates import Prompts, Reading
from steersman.selection.causal import CausalChoice, causal_site
from steersman.selection.dose import Dose, at_budget, best_within
from steersman.selection.openings import OpeningOdds, TokenOdds, discover_tokens
from steersman.selection.site import Candidate, CausalLimits, SiteChoice, choose_causal, choose_site
from steersman.where import eligible_layers

__all__ = [
    "Budget",
    "Candidate",
    "CausalChoice",
    "CausalLimits",
    "Dose",
    "OpeningOdds",
    "Prompts",
    "Reading",
    "SiteChoice",
    "TokenOdds",
    "at_budget",
    "at_depth",
    "best_auroc",
    "best_within",
    "causal_site",
    "choose_causal",
    "choose_site",
    "discover_tokens",
    "eligible_layers",
    "largest_norm",
]
