"""The report of a study of behaviours: which move, alone and together, how far, and what it costs.

It is made from `behaviours.json` alone. `write_behaviours(folder)` writes `report.html`, `plots/` and `settings.csv`;
`behaviours_table` and `behaviours_finding` are what the console shows.
"""

from steersman.report.behaviours.page import write_behaviours
from steersman.report.behaviours.record import parsed, read_behaviours
from steersman.report.behaviours.tables import behaviours_finding, behaviours_table
from steersman.report.behaviours.values import Record

__all__ = ["Record", "behaviours_finding", "behaviours_table", "parsed", "read_behaviours", "write_behaviours"]
