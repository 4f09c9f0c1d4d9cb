"""Environments of their own for what cannot be installed beside steersman; made once, found again."""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_of(name: str) -> Path:
    """Return the interpreter of an environment under `.peers`, made or not."""
    folder = ROOT / ".peers" / name
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def ready(name: str, requirements: tuple[str, ...]) -> bool:
    """Return whether an environment was made with these requirements."""
    marker = ROOT / ".peers" / name / "ready.txt"
    return marker.is_file() and marker.read_text().split() == list(requirements)


def provide(name: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment that has the requirements; makes it where it is missing."""
    folder = ROOT / ".peers" / name
    if not ready(name, requirements):
        print(f"making {folder.relative_to(ROOT)} with {', '.join(requirements)} (once)", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python_of(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
            check=True,
        )
        (folder / "ready.txt").write_text("\n".join(requirements) + "\n")
    return python_of(name)
