"""The report of a study of broad skills: one self-contained page, its figures, a table and the finding in words.

`write_skills(folder)` reads `skills.json` in a run folder and writes `report.html`, `plots/*.png`, `plots/*.svg` and
`curves.csv`. `skills_table` and `skills_finding` say the same for a console.
"""

from steersman.report.skills.page import write_skills
from steersman.report.skills.reading import read_skills, skills_of
from steersman.report.skills.record import Skills
from steersman.report.skills.wording import skills_finding, skills_table

__all__ = ["Skills", "read_skills", "skills_finding", "skills_of", "skills_table", "write_skills"]
