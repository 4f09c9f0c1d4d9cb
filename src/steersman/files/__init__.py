"""Files: safe artifacts and writes that are all or nothing. No pickle anywhere."""

from steersman.files.container import Facts, facts_of
from steersman.files.directions import load_direction, save_direction
from steersman.files.plans import load_plan, plan_in, save_plan
from steersman.files.ranges import range_of, ranges_in_text
from steersman.files.writing import check_target, said_plainly, write_bytes, write_json, write_text

__all__ = [
    "Facts",
    "check_target",
    "facts_of",
    "load_direction",
    "load_plan",
    "plan_in",
    "range_of",
    "ranges_in_text",
    "said_plainly",
    "save_direction",
    "save_plan",
    "write_bytes",
    "write_json",
    "write_text",
]
