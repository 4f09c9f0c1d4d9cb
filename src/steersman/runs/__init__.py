"""Run folders: what was asked, what came out, and an append-only store of finished items that survives a kill.

config.yaml        the exact configuration
provenance.json    versions, model, seeds, hashes, seconds
items.jsonl        one record a finished item, content-addressed, appended and flushed item by item
directions/        the fitted directions
outcomes.jsonl     every item's numbers under every setting, what two runs are compared by
completions.jsonl, results.json, differences.json, groups.json, remarks.json, agreement.json, layers.json,
summary.json       written at the end

`items.jsonl` is the memory of a run: whatever the command finds there is not computed again. Everything else is written
whole from what is in it, so that a run that was killed twenty times ends in the same bytes as one that was left alone.
"""

from steersman.runs.folder import open_run
from steersman.runs.store import FORMAT, ItemStore
from steersman.runs.writing import write_results

__all__ = ["FORMAT", "ItemStore", "open_run", "write_results"]
