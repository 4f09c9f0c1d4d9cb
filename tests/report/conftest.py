from pathlib import Path

import pytest
from simulated_run import layers, put, simulate, write_run


@pytest.fixture(scope="session")
def simulated() -> tuple[list[dict], list[dict]]:
    return simulate()


@pytest.fixture
def thin_folder(tmp_path, simulated) -> Path:
    """A small run that is quick to draw: two tasks, two coefficients, one layer search."""
    few = {"refusal_rate", "helpful_rate", "accuracy_letter"}
    keep = {("norm", 0.0), ("norm", 0.2), ("norm", 0.35)}
    rows = [
        [row for row in part if (row["unit"], row["coefficient"]) in keep and row["metric"] in few]
        for part in simulated
    ]
    folder = write_run(tmp_path / "thin", *rows)
    put(folder, "layers.json", {"refusal": layers()["refusal"]})
    return folder


@pytest.fixture
def run_folder(tmp_path, simulated) -> Path:
    """A complete run, freely changed by the test that asks for it."""
    return write_run(tmp_path / "run", *simulated)
