"""The contenders' environments under `.peers`: made once, found again, and a sentence where one cannot be made.

Folders and markers are those of `benchmarks/peers/directions.py`, so that what it made serves here too.
"""

import subprocess
import sys
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
REQUIREMENTS = {
    "plain": ["transformers==5.23.0"],
    "repeng": ["repeng==0.4.0", "transformers==5.23.0"],
    "steering-vectors": ["steering-vectors==0.12.2", "transformers==4.57.6"],
    "pyvene": ["pyvene==0.1.8", "transformers==4.57.6"],
    "nnsight": ["nnsight==0.8.1", "transformers==5.23.0"],
    "lm-eval": ["lm_eval[hf]==0.4.13", "transformers==5.23.0"],
}
MINUTES = 20


class SetupError(Exception):
    """A contender that cannot be installed or run; the message is the reason."""


def environment(name: str, cache: Path) -> Path:
    """Return the contender's python; steersman's own is the one that runs this.

    Raises:
        SetupError: with pip's last word, where it could not be made.
    """
    if name == "steersman":
        return Path(sys.executable)
    place = cache / name
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = "\n".join([TORCH, *REQUIREMENTS[name]])
    marker = place / "installed.txt"
    if marker.is_file() and marker.read_text() == wanted:
        return python
    print(f"making an environment for {name} with {', '.join(REQUIREMENTS[name])} (once)", file=sys.stderr)
    venv.create(place, with_pip=True, clear=True)
    (cache / ".gitignore").write_text("*\n")
    # Torch first and by its exact version: whatever a contender asks for, all run on the same kernels.
    for requirements in ([TORCH], [TORCH, *REQUIREMENTS[name]]):
        install(name, python, requirements)
    marker.write_text(wanted)
    return python


def install(name: str, python: Path, requirements: list[str]) -> None:
    """Install into an environment.

    Raises:
        SetupError: when pip does not manage.
    """
    command = [python, "-m", "pip", "install", "--quiet", *requirements]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise SetupError(f"{name} was not installed within {MINUTES} minutes") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise SetupError(f"{name} could not be installed: {said[-1].removeprefix('ERROR:').strip()}") from None
