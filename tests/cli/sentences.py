"""What a refused command looks like: one sentence on stderr."""

import re
from typing import Any

HERE = "steersman: "


def refused(done: Any, match: str, code: int = 2) -> None:
    """Assert one sentence on stderr, nothing on stdout, and the exit code."""
    lines = done.err.splitlines()
    assert (done.code, len(lines), done.out) == (code, 1, ""), done.err
    assert lines[0].startswith(HERE)
    assert re.search(match, lines[0]), lines[0]
