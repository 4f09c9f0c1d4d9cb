"""The page on judges quotes the lists and the wording as the code has them."""

import re
from pathlib import Path

import pytest

from steersman.judges import DISCLAIMER_PATTERNS, FORMS, OFFER_PATTERNS, OPENING, REFUSAL_PATTERNS, VOICE_ENDS
from steersman.judges.grading import QUESTIONS, SYSTEM, instructions
from steersman.judges.odds import REFUSAL_WORDING

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)


def test_the_page_quotes_everything_and_nothing_else():
    assert [
        "\n".join(REFUSAL_PATTERNS),
        "\n".join(DISCLAIMER_PATTERNS),
        VOICE_ENDS,
        "\n".join(OFFER_PATTERNS),
        REFUSAL_WORDING,
        SYSTEM,
        instructions(("behaviour", "coherence", "refusal")),
    ] == BLOCKS
    assert set(QUESTIONS) == {"behaviour", "coherence", "refusal"}
    assert f"first {OPENING} characters" in PAGE


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_name_is_on_the_page(form):
    assert f"`{form}`" in PAGE
