"""Finished runs' reports: the pages under one folder that was named at the start, and nothing else there."""

from dataclasses import dataclass
from pathlib import Path

PAGES = ("report.html", "selection.html", "comparison.html")
"""What reports are called."""

DEEPEST = 3
"""Folders below the given one."""

MOST = 500
"""Reports that are listed."""


@dataclass(frozen=True)
class Reports:
    """The reports of a folder.

    Args:
        folder: with run folders in it; `None` for none.
    """

    folder: Path | None = None

    def names(self) -> list[str]:
        """Return the reports' paths below the folder, the latest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        root = self.folder.resolve()
        found: dict[str, float] = {}
        for depth in range(DEEPEST + 1):
            for page in root.glob("*/" * depth + "*.html"):
                if _is_report(page) and page.resolve().is_relative_to(root):
                    found[page.relative_to(root).as_posix()] = page.stat().st_mtime
        return sorted(found, key=lambda name: (-found[name], name))[:MOST]

    def path(self, name: str) -> Path | None:
        """Return the page of a name; `None` for anything that is not listed."""
        if self.folder is None or name not in self.names():
            return None
        return self.folder.resolve() / name


def _is_report(page: Path) -> bool:
    return page.is_file() and (page.name in PAGES or page.name.startswith("comparison"))
