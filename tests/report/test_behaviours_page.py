"""The page, the tables and the figures of a study of behaviours say what the record says."""

import csv
import html
import re
from dataclasses import replace

import pytest
import simulated_behaviours
from simulated_behaviours import NAMES, behaviours, setting, settings, write_folder

from steersman.errors import DataError, FileError
from steersman.report.behaviours import behaviours_finding, behaviours_table, parsed, write_behaviours
from steersman.report.behaviours.bars_plot import bars_chart
from steersman.report.behaviours.checks_plot import letters_chart, predictions_chart
from steersman.report.behaviours.cosines_plot import cosines_chart, interfering, relation
from steersman.report.behaviours.curves_plot import curves_chart
from steersman.report.behaviours.grid_plot import _bound, grid_chart
from steersman.report.behaviours.naming import label, rows_of
from steersman.report.behaviours.vectors_plot import energy_chart, histograms_chart, massive_words
from steersman.report.figures import inline_svg
from steersman.report.studies import study_report

TWO = NAMES[:2]
PLOTS = ("cosines", "grid", "histograms-text", "letters", "predictions", "scales", "settings", "vectors")


@pytest.fixture(autouse=True)
def _few_ways(monkeypatch):
    monkeypatch.setattr(simulated_behaviours, "WAYS", ("sum",))
    monkeypatch.setattr(simulated_behaviours, "LAYERS", (3, 15))
    monkeypatch.setattr(simulated_behaviours, "COEFFICIENTS", (-0.4, -0.3, 0.3, 0.4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run folder with its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_behaviours, "WAYS", ("sum",))
        patch.setattr(simulated_behaviours, "LAYERS", (3, 15))
        patch.setattr(simulated_behaviours, "COEFFICIENTS", (-0.4, -0.3, 0.3, 0.4))
        nasty = "<script>alert(1)</script> moves"
        folder = write_folder(tmp_path_factory.mktemp("behaviours"), behaviours(TWO, finding=[nasty, "b", "c", "d"]))
        write_behaviours(folder)
    return folder


def svg(chart):
    return [inline_svg(panel) for panel in chart.panels]


def said(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ").split())


def test_the_page_is_one_file_that_asks_nothing_and_escapes_everything(whole):
    page = (whole / "report.html").read_text()
    assert not re.search(r"<(?:script|link|img|iframe)\b", page)
    assert not re.search(r'(?:src|href)="(?!#|data:image/png)', page)
    assert "url(http" not in page
    assert "<script>alert(1)</script> moves" in said(page)
    assert "Three" not in page  # another record's finding


def test_figures_are_written_as_png_and_svg(whole):
    names = {path.name for path in (whole / "plots").iterdir()}
    assert names == {f"{name}.{form}" for name in PLOTS for form in ("png", "svg")}


def test_ids_are_unique_on_the_page(whole):
    found = re.findall(r'\bid="([^"]+)"', (whole / "report.html").read_text())
    assert len(found) == len(set(found))


def test_captions_say_what_was_chosen_on_which_items_with_n_and_unit(whole):
    page = said((whole / "report.html").read_text())
    assert "Validation items, n = 300" in page
    assert "on the test items, which no choice has seen, with 95 % intervals; n = 300" in page
    assert "The tax is the change of accuracy on questions of knowledge, n = 2000" in page
    assert "fraction of the mean residual norm at the site" in page
    assert "mode collapse by log-probability: A is the answer 294 of 300 times" in page


def test_the_csv_holds_every_score_of_every_setting(whole):
    record = parsed(behaviours(TWO))
    with (whole / "settings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(4 * len(each.scores) + 2 * (each.tax is not None) for each in record.settings)
    for each in record.settings:
        for name in each.scores:
            mine = [
                r for r in rows if (r["setting"], r["behaviour"], r["measure"]) == (each.name, name, "margin_change")
            ]
            assert [float(row["value"]) for row in mine] == [each.scores[name].margin_change.value]
            assert mine[0]["unit"] == "nats per token"


def test_the_same_record_gives_the_same_bytes(tmp_path):
    made = [write_folder(tmp_path / name, behaviours(NAMES[:1], combination=False)) for name in ("a", "b")]
    for folder in made:
        write_behaviours(folder)
    for path in ["report.html", "settings.csv", "plots/grid.png", "plots/settings.svg"]:
        assert (made[0] / path).read_bytes() == (made[1] / path).read_bytes()


def test_one_behaviour_without_any_combination(tmp_path):
    folder = write_folder(tmp_path, behaviours(NAMES[:1], combination=False), summary=False, provenance=False)
    page = said(write_behaviours(folder).read_text())
    assert "Behaviours were not steered together" in page
    assert "summary.json is missing" in page
    assert "provenance.json is missing" in page
    names = {path.stem for path in (folder / "plots").iterdir()}
    assert names == {"grid", "histograms-text", "letters", "settings", "vectors"}


def test_no_tax_is_said_and_prose_stands_in_its_place(tmp_path):
    record = parsed(behaviours(TWO, taxed=False))
    bars, curves = bars_chart(record), curves_chart(record)
    assert bars is not None
    assert curves is not None
    assert [panel.name for panel in bars.panels] == [f"bars-{name}" for name in TWO]
    assert "No tax was measured" in bars.caption
    assert curves.panels[-1].title == "The cost: plain prose"
    assert "The tax was not measured along these curves" in curves.caption
    assert "| knowledge, points |" in behaviours_table(record)


def test_errors_of_files_beside_the_record(tmp_path):
    folder = write_folder(tmp_path, behaviours(NAMES[:1], combination=False))
    (folder / "summary.json").write_text("[1]")
    with pytest.raises(FileError, match=r"summary\.json should hold one JSON object, but holds a list"):
        write_behaviours(folder)
    (folder / "summary.json").write_text("{")
    with pytest.raises(FileError, match=r"summary\.json is not valid JSON"):
        write_behaviours(folder)
    assert not (folder / "report.html").exists()
    (folder / "behaviours.json").write_text("{}")
    with pytest.raises(DataError, match="expected the key 'version'"):
        behaviours_table(folder)


# Tables and words.


def test_in_rows_of_single_behaviours_each_column_is_its_own_vector():
    record = parsed(behaviours(TWO))
    alone = rows_of(record)[0]
    assert alone.label == "alone"
    for name in TWO:
        for sign in (1, -1):
            found = alone.setting(name, sign)
            assert found is not None
            assert found.members[0].behaviour == name
            assert alone.score(name, sign) == found.scores[name]


def test_every_steered_setting_stands_in_exactly_one_row():
    record = parsed(behaviours(NAMES))
    placed = [each.name for row in rows_of(record) for each in (*row.shared.values(), *row.own.values())]
    assert sorted(placed) == sorted(each.name for each in record.settings if each.kind != "unsteered")


def test_two_settings_of_one_name_and_sign_have_rows_of_their_own():
    rows = settings(TWO)
    record = parsed(behaviours(TWO, settings=[*rows, rows[-1] | {"name": "prompt, again"}]))
    labels = [row.label for row in rows_of(record)]
    assert labels.count("system prompt") == 1
    assert "system prompt (prompt, again)" in labels


def test_random_controls_are_called_after_what_they_imitate():
    rows = settings(TWO)
    extra = [
        setting(f"random, as {name}", "random", 1, rows[0]["scores"])
        for name in ("sum +", "simultaneous +", "myopia +")
    ]
    record = parsed(behaviours(TWO, settings=[*rows, *extra]))
    assert [label(each, record) for each in record.settings[-3:]] == [
        "random, as one vector: sum",
        "random, as each at its own layer, weighted",
        "random, as alone",
    ]
    (row,) = (row for row in rows_of(record) if row.label == "random, as alone")
    assert set(row.own) == {("myopia", 1)}


def test_the_table_marks_intervals_that_leave_out_zero_and_is_ascii():
    table = behaviours_table(parsed(behaviours(NAMES)))
    assert table.isascii()
    head, _, alone, *_ = table.splitlines()
    assert head.count("n = 300") == len(NAMES)
    cells = [cell.strip() for cell in alone.strip("|").split("|")]
    moved = {name: "*" in cell for name, cell in zip(NAMES, cells[1:-1], strict=True)}
    assert moved == dict.fromkeys(NAMES, True) | {"sycophancy": False}
    assert cells[1] == "+0.72 (+0.67 to +0.77)*, +21.5"


def test_the_finding_is_the_records_or_counts_what_moves():
    assert behaviours_finding(parsed(behaviours(TWO))).startswith("Three of five behaviours move by words.")
    counted = behaviours_finding(parsed(behaviours(NAMES, finding=[])))
    # one does not move, and one moves the other way
    assert counted.startswith("3 of 5 behaviours move the way they are steered")
    assert "sycophancy" not in counted
    assert "agreeableness" not in counted
    still = behaviours_finding(parsed(behaviours(("sycophancy", "agreeableness"), finding=[])))
    assert still == "None of 2 behaviours moves the way it is steered, each by a vector of its own."


def test_the_unit_of_margins_follows_what_was_scored():
    assert "nats per token" in behaviours_table(parsed(behaviours(TWO)))
    assert "nats per token" not in behaviours_table(parsed(behaviours(TWO, scoring="letter")))


# Figures.


def test_ineligible_cells_are_hatched_and_chosen_ones_framed():
    chart = grid_chart(parsed(behaviours(("myopia",), combination=False)))
    assert chart is not None
    (panel,) = chart.panels
    drawn = inline_svg(panel)
    assert drawn.count("url(#grid-myopia") >= 2  # coefficients of 0.4 at layer 3, either sign
    assert drawn.count("stroke: #0b3d1f") == 2
    assert "2 of 8 cells not eligible; chosen: layer 15 at 0.3 and layer 15 at −0.3" in panel.description


def test_the_scale_of_colours_is_that_of_eligible_cells():
    rows = behaviours(("myopia",), combination=False)
    assert not rows["grid"][0]["eligible"]
    rows["grid"][0]["margin_change"] |= {"value": -50.0, "low": -51.0}
    largest = max(abs(row["margin_change"]["value"]) for row in rows["grid"][1:])
    assert _bound(parsed(rows).grid) == largest
    chart = grid_chart(parsed(rows))
    assert chart is not None
    drawn = inline_svg(chart.panels[0])
    assert f">{largest:.2f}</text>" in drawn
    assert f">−{largest:.2f}</text>" in drawn


def test_pairs_interfere_from_the_threshold_on():
    record = parsed(behaviours(NAMES))
    pairs = interfering(record.cosines[0])
    assert [(pair[:2], relation(pair[2])) for pair in pairs] == [
        (("myopia", "agreeableness"), "fight"),
        (("myopia", "wealth-seeking"), "reinforce"),
    ]
    chart = cosines_chart(record)
    assert chart is not None
    for drawn in svg(chart):
        assert drawn.count(">fight</text>") == drawn.count(">reinforce</text>") == 2


def test_predictions_outside_the_frame_are_drawn_at_its_edge_and_said():
    record = parsed(behaviours(("myopia", "sycophancy")))
    chart = predictions_chart(record)
    assert chart is not None
    outside = sum(each.behaviour == "sycophancy" for each in record.predictions)
    assert f"{outside} lie outside the frame" in chart.caption
    assert f"Pale ({outside})" in chart.caption
    assert predictions_chart(replace(record, predictions=())) is None


def test_letters_show_the_line_of_collapse_only_where_the_share_is_known():
    known, unknown = (letters_chart(parsed(behaviours(TWO, given=given))) for given in (True, False))
    assert known is not None
    assert unknown is not None
    assert "(95 %) one letter is the answer to nearly everything" in known.caption
    assert "was not recorded at every point" in unknown.caption
    assert "reported as collapsed, 8 of 16 points" in known.caption
    assert all("(collapsed)" in panel.description for panel in known.panels)


def test_curves_mark_the_scale_that_was_used():
    chart = curves_chart(parsed(behaviours(TWO)))
    assert chart is not None
    assert all("Used: 0.5, −0.5" in panel.description for panel in chart.panels[:-1])
    assert chart.panels[-1].title == "The tax: knowledge"


def test_mixed_signs_are_another_way():
    rows = behaviours(TWO)
    mixed = [curve | {"sign": 0} for curve in rows["curves"] if curve["sign"] > 0]
    chart = curves_chart(parsed(rows | {"curves": rows["curves"] + mixed}))
    assert chart is not None
    titles = [panel.title for panel in chart.panels]
    assert "one vector: sum" in titles
    assert "one vector: sum, mixed signs" in titles


def test_vectors_carried_by_two_coordinates_are_called_out():
    record = parsed(behaviours(("myopia", "sycophancy")))
    (words,) = massive_words(record)
    assert words.startswith("sycophancy (read at the answer's words): two coordinates hold more than 20 %")
    assert "8 of 30 layers" in words
    energy, histograms = energy_chart(record), histograms_chart(record, "text")
    assert energy is not None
    assert histograms is not None
    assert len(histograms.panels) == 2
    assert ">131</text>" in inline_svg(histograms.panels[1])
    assert histograms_chart(record, "letter") is None


def test_nothing_measured_draws_nothing():
    keys = ("grid", "letters", "curves", "settings", "predictions", "vectors", "cosines", "chosen")
    empty = {key: [] for key in keys}
    record = parsed(behaviours(TWO) | empty)
    for chart in (bars_chart, grid_chart, curves_chart, cosines_chart, predictions_chart, energy_chart, letters_chart):
        assert chart(record) is None


def test_the_summary_decides_which_report_a_folder_gets(tmp_path):
    assert study_report(tmp_path) is None
    folder = write_folder(tmp_path, behaviours(NAMES[:1], combination=False))
    found = study_report(folder)
    assert found is not None
    assert found.write is write_behaviours
    (folder / "summary.json").write_text('{"study": "refusal"}')
    assert study_report(folder) is None
