"""A run folder as something to read: tables, plots and one self-contained HTML page.

`write_report(folder)` reads what a study has left in its run folder and writes `results.csv`, `plots/*.png`,
`plots/*.svg` and `report.html`, which opens offline and asks nothing of any server.
"""

from steersman.report.headline import Headline, headline
from steersman.report.page import write_report
from steersman.report.reading import Result, Run, Setting, read_run
from steersman.report.tables import results_table, write_csv

__all__ = ["Headline", "Result", "Run", "Setting", "headline", "read_run", "results_table", "write_csv", "write_report"]
