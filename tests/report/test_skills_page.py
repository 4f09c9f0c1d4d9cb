"""The page of a study of skills: what stands on it is what the record says, for every kind of outcome."""

import csv
import html
import json
import re

import pytest
from simulated_skills import LEVEL, record, write_record

from steersman.errors import FileError
from steersman.report.figures import PALETTE, inline_svg
from steersman.report.skills import skills_finding, skills_of, skills_table, write_skills
from steersman.report.skills.curves import metric_charts
from steersman.report.skills.levels import area_chart, grid_charts
from steersman.report.skills.tradeoff import _above, test_tradeoffs, validation_tradeoffs
from steersman.report.skills.vectors import cosine_charts, figures_chart, histogram_charts

test_tradeoffs.__test__ = False  # a chart, whatever its name says

NASTY = '<script>alert("x")</script> & $x$ {{ 7 * 7 }}'
FEW = {"layers": ((9,),), "readings": (("mean", 0),), "controls": 1, "coefficients": (0.0, 0.4, 0.8, 1.2)}
NEVER = FEW | {"coefficients": (0.0, 0.1, 0.2)}


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    """Return the folder of a small study, with everything written."""
    plain = record(**FEW)
    plain["corpora"][0]["source"] = NASTY
    plain["finding"][0] = f"text {NASTY}"
    folder = write_record(tmp_path_factory.mktemp("skills"), plain)
    (folder / "provenance.json").write_text(json.dumps({"command": "steersman run skills", "versions": {"torch": "2"}}))
    (folder / "summary.json").write_text(json.dumps({"study": "skills", "complete": True, "mode": "quick"}))
    write_skills(folder)
    return folder, plain


def text_of(svg):
    return html.unescape(" ".join(re.findall(r"<text[^>]*>(.*?)</text>", svg, flags=re.DOTALL)))


def test_the_page_stands_alone_and_escapes_what_it_is_given(small_page):
    folder, plain = small_page
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "src=" not in page
    assert "<script" not in page
    assert page.count(html.escape(NASTY).replace("&quot;", "&#34;")) == 2
    for contrast in plain["comparisons"]:
        assert contrast["sentence"].split(",")[0].replace(" %", "\u00a0%") in page
    assert "steersman run skills" in page
    assert "A quick run" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_every_figure_is_a_file_of_both_forms(small_page):
    folder, _ = small_page
    names = {path.stem for path in (folder / "plots").iterdir()}
    wanted = {"area", "cosines", "cosines-by-layer", "vectors", "grid-code", "grid-python"}
    wanted |= {f"{kind}-{skill}-mean-layers-9" for kind in ("tradeoff-test", "metrics") for skill in ("code", "python")}
    wanted |= {f"{kind}-{skill}-mean" for kind in ("tradeoff-validation", "histogram") for skill in ("code", "python")}
    assert wanted <= names
    assert all((folder / "plots" / f"{name}.{form}").is_file() for name in names for form in ("png", "svg"))


def test_the_curves_are_written_at_full_precision(small_page):
    folder, plain = small_page
    rows = list(csv.DictReader((folder / "curves.csv").read_text(encoding="utf-8").splitlines()))
    curves = [*plain["validation"], *plain["test"]]
    assert len(rows) == sum(len(curve["points"]) for curve in curves) * len(plain["corpora"]) * 3
    last = next(row for row in rows if (row["part"], row["corpus"], row["coefficient"]) == ("test", "code", "0.8"))
    said = plain["test"][0]["points"][2]["skills"]["code"]["top1_accuracy"]["relative"]
    assert [float(last[f"compared{end}"]) for end in ("", "_low", "_high")] == [
        said[e] for e in ("value", "low", "high")
    ]


def test_the_table_says_what_was_chosen_and_what_permuted_coordinates_leave():
    plain = record(**FEW)
    kept = plain["test"][0]["kept"]["skills"]["code"]["value"]
    row = skills_table(plain).splitlines()[2]
    assert row.startswith("| code | code, mean | 9 | 1.2 |")
    assert f"{100 * kept:.1f} %" in row
    assert "82.0 % (80.0-83.8)" in row
    assert f"{100 * (kept - 0.82):+.1f} points" in row


def test_where_the_level_is_never_reached_it_is_said_so_everywhere(tmp_path):
    plain = record(**NEVER) | {"finding": []}
    assert skills_table(plain).count("never reached") == 4
    assert "text never falls to 90 %" in skills_finding(plain)
    grid = grid_charts(skills_of(plain))[0].panels[0]
    assert text_of(inline_svg(grid)).count("never") == 1
    assert "code, mean, layer 9: never" in grid.description


def test_the_finding_is_the_studys_own_or_made_of_the_numbers():
    plain = record(**FEW)
    assert skills_finding(plain) == " ".join(plain["finding"])
    made = skills_finding(plain | {"finding": []})
    kept = plain["test"][0]["kept"]["skills"]["code"]["value"]
    assert made.startswith(f"Where text is kept at 90 %, {100 * kept:.1f} %")
    assert "Nothing was chosen" in skills_finding(plain | {"finding": [], "chosen": []})


def test_a_control_that_was_not_measured_is_said(tmp_path):
    plain = record(**NEVER | {"controls": 0})
    page = write_skills(write_record(tmp_path, plain)).read_text(encoding="utf-8")
    assert "There is no permuted control" in page
    assert "so nothing can be compared at that level" in page


def test_a_study_without_test_curves_and_vectors_still_has_a_page(tmp_path):
    bare = {"test": [], "chosen": [], "comparisons": [], "cosines": [], "finding": []}
    plain = record(**FEW) | bare
    for vector in plain["vectors"]:
        vector.update(histograms=[], by_layer=[])
    page = write_skills(write_record(tmp_path, plain)).read_text(encoding="utf-8")
    assert "Nothing has been measured on the test texts" in page
    assert 'id="vectors"' not in page
    assert 'id="layers"' in page


def test_the_same_record_gives_the_same_bytes(tmp_path):
    plain = record(**NEVER)
    first, second = (write_skills(write_record(tmp_path / name, plain)).read_bytes() for name in ("one", "two"))
    assert first == second


def test_a_broken_summary_is_named(tmp_path):
    folder = write_record(tmp_path, record(**NEVER))
    (folder / "summary.json").write_text("[]")
    with pytest.raises(FileError, match=r"summary\.json should hold one JSON object"):
        write_skills(folder)


def test_every_panel_has_a_name_of_its_own_and_a_description():
    found = skills_of(record())
    charts = [*test_tradeoffs(found), *validation_tradeoffs(found), *metric_charts(found), *grid_charts(found)]
    charts += [*cosine_charts(found), *histogram_charts(found), area_chart(found), figures_chart(found)]
    names = [panel.name for chart in charts for panel in chart.panels]
    assert len(names) == len(set(names))
    assert len({chart.name for chart in charts}) == len(charts)
    assert all(panel.description.endswith(".") and len(panel.description) > 30 for c in charts for panel in c.panels)
    assert all("n = " in chart.caption for chart in charts[: -len(histogram_charts(found)) - 5])


def test_the_colours_of_cells_do_not_turn_with_the_page():
    grid = grid_charts(skills_of(record(**FEW)))[0].panels[0]
    svg = inline_svg(grid)
    assert "#fefefe" in svg or "#1b1d21" in svg
    assert all(light not in svg for light, _ in PALETTE.values())


def test_both_views_of_a_tradeoff_hold_the_level_and_the_crossing():
    path = [(100.0, 100.0), (60.0, 92.0), (20.0, 72.0)]
    (_, _, crossing) = sorted(_above(path, 80.0), key=lambda point: -point[1])
    assert crossing == pytest.approx((36.0, 80.0))
    assert _above(path, 60.0) == path
    assert pytest.approx(0.9) == LEVEL


def test_opposed_raw_vectors_and_aligned_masked_ones_can_be_read_off_the_lines():
    (lines, *_) = cosine_charts(skills_of(record()))
    assert lines.name == "cosines-by-layer"
    assert [key.text.rpartition(", ")[2] for key in lines.legend] == ["raw", "raw", *["2 coordinates masked"] * 2]
    assert "from -0.76 (layer 3)" in lines.panels[0].description
    assert "to 0.86 (layer 24)" in lines.panels[0].description


def test_figures_and_cosines_that_are_not_known_are_left_out():
    plain = record(**FEW)
    for vector in plain["vectors"]:
        vector["by_layer"][0] |= dict.fromkeys(("vector_norm", "residual_norm", "massive_share", "separation"))
    plain["cosines"] = [{"layer": layer, "names": ["a", "b"], "matrix": [[1, None], [None, 1]]} for layer in (3, 9)]
    found = skills_of(plain)
    figures = figures_chart(found)
    assert figures is not None
    first, second = (row["layer"] for row in plain["vectors"][0]["by_layer"][:2])
    assert all(f"(layer {first})" not in panel.description for panel in figures.panels)
    assert second in {
        layer for panel in figures.panels for layer in map(int, re.findall(r"layer (\d+)\)", panel.description))
    }
    (squares,) = cosine_charts(found)
    assert [panel.description for panel in squares.panels] == [
        f"Cosines between 2 vectors at layer {layer}: not known." for layer in (3, 9)
    ]
    assert re.findall(r"\d\.\d\d", text_of(inline_svg(squares.panels[0]))) == ["1.00", "1.00"]
