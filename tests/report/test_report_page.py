import hashlib
import json
import re
from html.parser import HTMLParser

import matplotlib
import pytest
from simulated_run import HOSTILE, put
from test_selection_page import selection

from steersman.errors import FileError
from steersman.report import read_run, write_report


class Reader(HTMLParser):
    """Collects what a browser would fetch or run, the open tags, and the ids."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr", "path", "use", "circle"})

    def __init__(self):
        super().__init__()
        self.tags, self.references, self.ids, self.handlers, self.open = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read(path) -> tuple[str, Reader]:
    html = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return html, reader


def digest(folder) -> dict[str, str]:
    files = [folder / "report.html", folder / "results.csv", *sorted((folder / "plots").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_complete_run_gives_page_plots_and_table(run_folder):
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    html, reader = read(path)
    names = {"tradeoff-norm", "tradeoff-raw", "dose-norm", "dose-raw", "layers-refusal", "layers-honesty"}
    assert {file.name for file in (run_folder / "plots").iterdir()} == {
        f"{name}.{form}" for name in names for form in ("png", "svg")
    }
    assert "At 0.35 of the residual norm at layer 14 the refusal direction raised refusals" in html
    assert "NOT CHOSEN" not in html
    assert "similarity_at_least" in html
    assert 'class="note"' not in html
    assert not [name for name in run_folder.iterdir() if name.name.startswith(".")]
    # everything in one file: nothing to fetch, nothing to run, every reference inside the page and every id once
    assert not {"script", "link", "iframe", "img", "object"} & set(reader.tags)
    assert reader.handlers == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(reference.startswith("#") and reference[1:] in reader.ids for reference in reader.references)
    assert set(re.findall(r"url\(#?([^)]*)\)", html)) <= set(reader.ids)
    assert "@import" not in html


def test_completions_are_text_whatever_they_hold(thin_folder):
    html, _ = read(write_report(thin_folder))
    assert HOSTILE not in html
    assert "<script" not in html
    assert "Sure! &lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; &lt;img src=" in html


def test_hostile_names_are_text_too(thin_folder):
    rows = json.loads((thin_folder / "results.json").read_text())
    rows.append({**rows[1], "task": "<b>$x$</b>", "metric": "odd_rate", "unit": "norm", "arm": "steered"})
    rows.append({**rows[0], "unit": "../escaped", "site": "resid_post.14", "coefficient": 1.0, "arm": "steered"})
    put(thin_folder, "results.json", rows)
    summary = json.loads((thin_folder / "summary.json").read_text())
    put(thin_folder, "summary.json", {**summary, "title": "<i>title</i>", "direction": '"><script>'})
    html, reader = read(write_report(thin_folder))
    assert not {"i", "script"} & set(reader.tags)
    assert "<b>$x$" not in html
    assert "Odd rate (&lt;b&gt;$x$&lt;/b&gt;)" in html
    assert (thin_folder / "plots" / "dose-escaped.svg").is_file()


def test_the_same_folder_gives_the_same_bytes_whatever_the_users_matplotlib_settings(thin_folder):
    write_report(thin_folder)
    first = digest(thin_folder)
    assert len(first) == 8
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        write_report(thin_folder)  # over the report that is there
        assert dict(matplotlib.rcParams) == before
    assert digest(thin_folder) == first


def test_colours_are_variables_so_that_the_page_can_turn_dark(thin_folder):
    html, _ = read(write_report(thin_folder))
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b(?!-)", drawings)
    assert "prefers-color-scheme: dark" in html


OPTIONAL = ["differences.json", "layers.json", "completions.jsonl", "summary.json", "provenance.json", "config.yaml"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_any_optional_file_may_be_missing_and_is_noted(thin_folder, name):
    (thin_folder / name).unlink()
    (note,) = read_run(thin_folder).notes
    assert note.startswith(f"{name} is missing: ")


def test_results_alone_make_a_page_with_every_note(thin_folder):
    for name in OPTIONAL:
        (thin_folder / name).unlink()
    html, _ = read(write_report(thin_folder))
    assert all(f"<li>{name} is missing: " in html for name in OPTIONAL)
    assert "It is not known whether this run is finished." in html


@pytest.mark.parametrize(
    ("kept", "note"),
    [
        (lambda row: row["arm"] != "random", "There is no random direction arm"),
        (lambda row: row["arm"] != "prompt", "There is no system prompt arm"),
        (lambda row: row["arm"] != "unsteered", "There is no unsteered arm"),
        (lambda row: row["arm"] != "steered", "There is no steered arm"),
        (lambda row: row["coefficient"] != 0.2, "There are no coefficients in raw units"),
        (lambda row: row["coefficient"] != 0.35, "There are no coefficients in raw units"),
        (lambda row: row["task"] != "refusal", "where harmful prompts have not been measured yet"),
    ],
)
def test_a_thin_run_is_reported_with_a_note(thin_folder, kept, note):
    for name in ("results.json", "differences.json"):
        put(thin_folder, name, [row for row in json.loads((thin_folder / name).read_text()) if kept(row)])
    html, _ = read(write_report(thin_folder))
    assert note in html
    # a legend names only what is drawn
    arms = {row["arm"] for row in json.loads((thin_folder / "results.json").read_text())}
    assert ("</svg>\nsystem prompt</li>" in html) == ("prompt" in arms and 'id="dose"' in html)


def test_an_empty_run_is_a_page_that_says_so(tmp_path):
    put(tmp_path, "results.json", [])
    html, _ = read(write_report(tmp_path))
    assert "nothing has been measured yet" in html
    assert "No results yet." in html
    assert (tmp_path / "results.csv").read_text() == "task,metric,arm,seed,site,coefficient,unit,value,low,high,n\n"


def test_an_unfinished_or_quick_run_says_so(thin_folder):
    summary = json.loads((thin_folder / "summary.json").read_text())
    put(thin_folder, "summary.json", {**summary, "complete": False, "chosen": None})
    html, _ = read(write_report(thin_folder))
    assert "This run is not finished" in html
    assert "No coefficient has been chosen yet." in html
    put(thin_folder, "summary.json", {**summary, "mode": "quick"})
    assert "A quick run" in write_report(thin_folder).read_text()


def test_missing_numbers_are_dashes_not_crashes(thin_folder):
    rows = json.loads((thin_folder / "results.json").read_text())
    for row in rows[::3]:
        row.update(value=None, low=None, high=None)
    for row in rows[1::3]:
        row.update(low=float("nan"), high=None)
    put(thin_folder, "results.json", rows)
    search = json.loads((thin_folder / "layers.json").read_text())
    search["refusal"]["rows"] = [{"layer": 3, "vector_norm": 0.0, "kl": None, "effect_harmful": 0.2}, {"layer": 1}]
    search["honesty"] = {"chosen": None, "rows": []}
    put(thin_folder, "layers.json", search)
    html, _ = read(write_report(thin_folder))
    assert "The layer search of the honesty direction holds no rows." in html


def test_a_studys_choice_is_told_with_its_reason_and_a_page_of_all_that_was_tried(thin_folder):
    summary = json.loads((thin_folder / "summary.json").read_text())
    put(thin_folder, "summary.json", summary | {"status": "over budget", "choice": "the <only> one left"})
    assert 'href="selection' not in read(write_report(thin_folder))[0]
    (thin_folder / "selection").mkdir()
    parts = [{"name": "refusal, <learned>", **selection()}, {"name": "honesty", **selection()}]
    put(thin_folder / "selection", "selection.json", {"selections": parts})
    page = read(write_report(thin_folder))[0]
    assert "The choice on validation data: over budget." in page
    assert "the &lt;only&gt; one left" in page
    assert 'href="selection/selection.html"' in page
    tried = (thin_folder / "selection" / "selection.html").read_text(encoding="utf-8")
    for name in ("refusal, &lt;learned&gt;", "honesty"):
        assert f'<p class="finding">{name}: add 0.28' in tried
        assert f"<h2>Which site: {name}</h2>" in tried


def test_what_was_tried_is_linked_also_where_no_layer_search_can_be_drawn(thin_folder):
    (thin_folder / "layers.json").unlink(missing_ok=True)
    (thin_folder / "selection").mkdir()
    put(thin_folder / "selection", "selection.json", {"selections": [{"name": "refusal", **selection()}]})
    page = read(write_report(thin_folder))[0]
    assert 'href="selection/selection.html"' in page
    assert 'href="#layers"' in page
    assert 'id="layers"' in page


@pytest.mark.parametrize("status", ["within budget", "over budget"])
def test_a_choice_of_the_honesty_direction_beyond_its_budget_is_warned_of(thin_folder, status):
    summary = json.loads((thin_folder / "summary.json").read_text())
    put(thin_folder, "summary.json", summary | {"status": "within budget", "honesty": {"status": status}})
    page = read(write_report(thin_folder))[0]
    warned = "The choice of the honesty direction on validation data: over budget." in page
    assert warned == (status == "over budget")
    assert "The choice on validation data" not in page


def test_a_last_line_cut_off_by_a_kill_is_left_out_with_a_note(thin_folder):
    path = thin_folder / "completions.jsonl"
    path.write_text(path.read_text()[:-40])
    html, _ = read(write_report(thin_folder))
    assert "The last line of completions.jsonl was cut off" in html


def test_a_folder_without_results_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileError, match=r"results\.json does not exist; give the folder"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results.json", "[", r"results\.json is not valid JSON"),
        ("results.json", "{}", r"results\.json should hold a list of results, but holds a dict"),
        ("results.json", "[3]", r"results\.json, entry 0: expected an object, but found a int"),
        ("results.json", '[{"task": "refusal"}]', r"entry 0: expected the key 'metric'"),
        (
            "results.json",
            '[{"task": "a", "metric": "b", "arm": "c", "value": "high"}]',
            r"'value' should be a number or null, but is 'high'",
        ),
        ("summary.json", "[]", r"summary\.json should hold one JSON object, but holds a list"),
        ("selection/selection.json", "[1]", r"should hold one JSON object"),
        (
            "selection/selection.json",
            '{"selections": 3}',
            r"selection\.json should hold what a study's selection tried",
        ),
        ("selection/selection.json", '{"considered": [{}]}', r"selection\.json should hold .*KeyError: 'search'"),
        ("selection/selection.json", '{"love": 3}', r"expected a record with a curve"),
        ("layers.json", '{"refusal": {"rows": [{"depth": 1}]}}', r"needs a 'layer' number"),
        ("completions.jsonl", 'nonsense\n{"task": 1}\n', r"completions\.jsonl, line 1: expected an object"),
    ],
)
def test_broken_files_are_named(thin_folder, name, text, message):
    (thin_folder / name).parent.mkdir(exist_ok=True)
    (thin_folder / name).write_text(text)
    with pytest.raises(FileError, match=message):
        write_report(thin_folder)


def test_a_place_that_cannot_be_written_is_an_error(thin_folder):
    (thin_folder / "plots").write_text("a file where the folder should be")
    with pytest.raises(FileError, match=r"plots.* cannot be written: .*choose a folder that can be written to"):
        write_report(thin_folder)
