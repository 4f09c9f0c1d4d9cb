"""Shapes and types of the lower floors checked for the whole run; the tiny models every law is tried on."""

import sys
from collections.abc import Callable

import torch
from jaxtyping import install_import_hook

CHECKED = [
    f"steersman.{name}"
    for name in ("where", "direction", "activations", "plan", "maths", "methods", "edits", "gates", "composition")
]

# The hook rewrites modules as they are imported, so it must stand before the first one is.
assert not any(name in sys.modules for name in CHECKED), "steersman was imported before its types could be checked"
_hook = install_import_hook(CHECKED, "checking.check_types")

import pytest  # noqa: E402

from steersman.model.loaded import Model  # noqa: E402
from tiny import FAMILIES, tiny_model  # noqa: E402

torch.set_num_threads(1)  # the tiny models are too small for a second one to help


_held = 0


@pytest.fixture
def laws() -> Callable[[int], None]:
    """Count combinations that a law was held against; the sum is printed at the end."""

    def count(number: int) -> None:
        global _held
        _held += number

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many combinations of edit, span, site, family, padding and cache were held against their formula."""
    if _held:
        terminalreporter.write_line(f"laws: {_held} combinations of edit, span, site, family, padding and cache")


@pytest.fixture(scope="session", params=FAMILIES)
def bare(request: pytest.FixtureRequest) -> Model:
    """A tiny model without a chat template."""
    return tiny_model(request.param)


@pytest.fixture(scope="session", params=[f"{family}-{kind}" for family in FAMILIES for kind in ("plain", "chat")])
def model(request: pytest.FixtureRequest) -> Model:
    """A tiny model without or with a chat template."""
    family, _, kind = request.param.partition("-")
    return tiny_model(family, chat=kind == "chat")


@pytest.fixture(scope="session")
def llama() -> Model:
    """One tiny model, where the architecture does not matter."""
    return tiny_model("llama")
