"""Reports of finished runs: pages in the folder that was named, and nothing else by any name."""

from pathlib import Path

import pytest

from steersman.web.reports import Reports


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name in ("a/report.html", "b/selection.html", "b/deep/report.html", "a/items.jsonl", "a/notes.html"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{name}</p>")
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "report.html").write_text("secret")
    return root


def test_only_report_pages_are_listed(runs: Path) -> None:
    assert sorted(Reports(runs).names()) == ["a/report.html", "b/deep/report.html", "b/selection.html"]
    assert Reports(None).names() == []
    assert Reports(runs / "missing").names() == []


@pytest.mark.parametrize(
    "name",
    [
        "../report.html",
        "../secret.html",
        "a/items.jsonl",
        "a/notes.html",
        "/etc/passwd",
        "",
        "a/../../report.html",
        "a",
    ],
)
def test_nothing_else_has_a_path(runs: Path, name: str) -> None:
    assert Reports(runs).path(name) is None
    assert Reports(None).path(name) is None


def test_a_link_out_of_the_folder_is_not_followed(runs: Path) -> None:
    (runs / "c").mkdir()
    (runs / "c" / "report.html").symlink_to(runs.parent / "report.html")
    assert Reports(runs).path("c/report.html") is None


def test_a_listed_page_has_its_path(runs: Path) -> None:
    path = Reports(runs).path("a/report.html")
    assert path is not None
    assert path.read_text() == "<p>a/report.html</p>"
