"""The support table in the documentation is what these tests see."""

import os
from pathlib import Path

import pytest
import transformers
from table import page

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"


def test_the_support_table_is_what_the_tests_see():
    """With `STEERSMAN_SUPPORT_TABLE=PATH` it is written there instead."""
    seen = page()
    wanted = os.environ.get("STEERSMAN_SUPPORT_TABLE")
    if wanted:
        Path(wanted).write_text(seen, encoding="utf-8")
        return
    told = PAGE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__} " not in told:
        pytest.skip(f"docs/architectures.md was measured with another transformers than {transformers.__version__}")
    rows, others = ({line for line in text.splitlines() if line.startswith("|")} for text in (told, seen))
    assert rows == others, "docs/architectures.md is out of date: set STEERSMAN_SUPPORT_TABLE to its path and run again"
