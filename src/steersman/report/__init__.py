"""A run folder as something to read: tables, plots and one self-contained HTML page.

`write_report(folder)` reads what a study or an evaluation has left in its run folder and writes `results.csv`,
`plots/*.png`, `plots/*.svg` and `report.html`, which opens offline and asks nothing of any server.
`write_selection(folder, record)` makes a page of a selection, with its figure.
`compare_runs(first, second)` pairs two runs item by item; `write_comparison` makes one page of it.
"""

from steersman.report.comparison import Change, Comparison, compare_runs, comparison_table
from steersman.report.comparison_page import write_comparison
from steersman.report.headline import Headline, headline
from steersman.report.page import write_report
from steersman.report.reading import read_run
from steersman.report.selection_page import write_selection
from steersman.report.tables import results_table, write_csv
from steersman.report.values import Result, Run, Setting

__all__ = [
    "Change",
    "Comparison",
    "Headline",
    "Result",
    "Run",
    "Setting",
    "compare_runs",
    "comparison_table",
    "headline",
    "read_run",
    "results_table",
    "write_comparison",
    "write_csv",
    "write_report",
    "write_selection",
]
