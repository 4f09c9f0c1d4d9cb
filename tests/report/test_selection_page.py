"""The page and the figure of a selection: all that was written stands on it, escaped, and is what the record says."""

import html
import json
import re
from dataclasses import replace

import pytest

from steersman.errors import InputError
from steersman.report.figures import inline_svg
from steersman.report.selection_page import write_selection
from steersman.report.selection_plot import _ruled, selection_chart
from steersman.report.selection_record import parts_of
from steersman.selection.rules import RULES

NASTY = '<script>alert("x")</script> & </td> $x$ %d {{ 7 * 7 }}'
PROMPTS = ["Tell me about <b>your</b> day.", "And the city?"]
UNIT = "class separations"


def search(sign=1, *, alarm=0.5, recommended=0.3, onset=0.2, rule="alert", site="resid_post.14", sizes=(0.2, 0.3, 0.5)):
    """Return what `CoefficientChoice.plain()` says of a search."""
    named = {"onset": onset, "alarm": alarm, "recommended": recommended}
    return {
        "rule": rule,
        "sites": [site],
        "sign": sign,
        "unit": "norm",
        "edit": "add",
        "span": "all",
        "status": "found",
        **{name: None if value is None else sign * value for name, value in named.items()},
        "tried": sign * sizes[-1],
        "reason": f"{rule}: it went <i>below</i> at {alarm}",
        "largest": 2.0,
        "completions": 8,
        "rounds": 2,
        "prompts": PROMPTS,
        "curve": [
            {
                "coefficient": sign * size,
                "completions": [f"{NASTY} at {site} {sign * size}", f"second at {sign * size}"],
                "signals": {"logprob": -1.0 - size, "projection": 2 * size, "text_kl": size**2},
            }
            for size in (0.0, *sizes)
        ],
    }


def estimate(value, n=120):
    return {"value": value, "low": value - 0.2, "high": value + 0.25, "n": n}


def selection(**changes):
    """Return what `Selection.plain()` says of one: 14 chosen, at less than the rule allows; 22 dropped."""
    places = [(6, 0.2, []), (14, 1.4, []), (22, 0.1, ["no <gain> at 0.3"])]
    return {
        "status": "chosen",
        "site": "resid_post.14",
        "edit": "add",
        "coefficient": 0.28,
        "coefficient_unit": "norm",
        "sign": 1,
        "objective": "expression",
        "effect_unit": UNIT,
        "budget": {"kl": 0.5},
        "points": [
            {
                "label": label,
                "coefficient": 0.28 * times,
                "effect": estimate(times),
                "costs": {"kl": estimate(0.2 * times)},
                "broken": broken,
            }
            for label, times, broken in (("0.5x", 0.5, []), ("1x", 1.0, []), ("1.5x", 1.5, ["kl 0.55 > 0.5"]))
        ],
        "considered": [
            {
                "site": f"resid_post.{layer}",
                "edit": "add",
                "coefficient": 0.28,
                "effect": effect,
                "costs": {"kl": 0.1},
                "dropped": dropped,
                "search": search(site=f"resid_post.{layer}"),
            }
            for layer, effect, dropped in places
        ],
        "profile": [
            {
                "site": f"resid_post.{layer}",
                "layer": layer,
                "position": None,
                "coefficient": 0.28,
                "merit": effect,
                "effect": effect,
                "kl": 0.1,
                "dropped": dropped,
                "chosen": layer == 14,
            }
            for layer, effect, dropped in places
        ],
        "reason": "add 0.28 norm at resid_post.14: the <largest> effect",
    } | changes


def written(folder, record, **how):
    return write_selection(folder, record, **how).read_text(encoding="utf-8")


def rows(page, kind):
    """Return the text of the table rows of a class."""
    found = re.findall(rf'<tr class="{kind}">(.*?)</tr>', page, flags=re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", " ", row)) for row in found]


def completions(record):
    searches = [each["search"] for each in record["considered"]] if "considered" in record else [record]
    return [text for one in searches for trial in one["curve"] for text in trial["completions"]]


@pytest.mark.parametrize("record", [search(), selection()])
def test_every_completion_stands_there_escaped(tmp_path, record):
    page = written(tmp_path, record, title="<u>title</u>")
    for text in completions(record):
        assert str(html.escape(text)).replace("&quot;", "&#34;") in page
    assert "<script" not in page
    assert not re.search(r"<(b|i|u|largest|gain)>", page)
    assert "49" not in re.findall(r"\{\{.*?\}\}", page)
    assert html.escape(record["reason"].split(":")[1].strip()) in page


def test_the_page_asks_no_server(tmp_path):
    page = written(tmp_path, selection())
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "src=" not in page


def test_the_recommended_row_is_marked_and_those_past_the_alarm(tmp_path):
    page = written(tmp_path, search(sizes=(0.2, 0.3, 0.5, 0.9)))
    (chosen,) = rows(page, "chosen")
    assert chosen.split()[:2] == ["0.3", "recommended"]
    assert [row.split()[0] for row in rows(page, "past")] == ["0.5", "0.9"]
    assert "past the alarm" in rows(page, "past")[1]


def test_where_the_recommendation_was_not_tried_the_nearest_is_marked_as_such(tmp_path):
    page = written(tmp_path, search(recommended=0.27))
    (chosen,) = rows(page, "chosen")
    assert "nearest to the recommended 0.27" in chosen
    assert chosen.split()[0] == "0.3"


def test_without_a_recommendation_nothing_is_marked(tmp_path):
    page = written(tmp_path, search(recommended=None, alarm=None, onset=None))
    assert rows(page, "chosen") == rows(page, "past") == []
    assert "no alarm up to 0.5" in page


def test_both_signs_of_a_place_share_a_figure(tmp_path):
    up, down = search(), search(-1, alarm=None)
    page = written(tmp_path, {"selections": [up, down]})
    assert len(rows(page, "chosen")) == 2
    assert page.count("<figure>") == 1
    for said in ("recommended 0.3", "recommended −0.3", "alarm 0.5", "no alarm up to −0.5", "onset −0.2"):
        assert f">{said}</text>" in page
    assert {path.name for path in tmp_path.iterdir()} == {
        "selection.html",
        "selection.json",
        "selection.png",
        "selection.svg",
    }


def test_the_record_is_kept_and_the_same_record_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_selection(tmp_path / name, selection())
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["selection.html", "selection.json", "selection.png", "selection.svg", "sites.png", "sites.svg"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "selection.json").read_text()) == selection()


def test_test_items_sites_and_other_places(tmp_path):
    page = written(tmp_path, selection())
    at, trial, place, *others = rows(page, "chosen")
    assert at.split()[:2] == ["1x", "0.28"]
    assert "+1.00 +0.80 to +1.25" in " ".join(at.split())
    assert "nearest to the recommended 0.28" in trial
    assert place.split()[0] == "resid_post.14"
    assert f"Change of expression ({UNIT})" in page
    assert "Cost: kl (nats per token)" in page
    assert html.escape("kl 0.55 > 0.5") in page
    assert page.count("<details>") == len(others) == 2
    assert html.escape("no <gain> at 0.3") in page


def test_the_rules_own_recommendation_is_told_from_the_budgets(tmp_path):
    record = selection()
    record["considered"][1] |= {"coefficient": 0.2}
    _, trial, *_ = rows(written(tmp_path, record), "chosen")
    assert trial.split()[:2] == ["0.2", "recommended"]
    assert "the rule&#39;s own, before the budget" in (tmp_path / "selection.html").read_text()


def test_two_selections_of_one_place_share_a_figure_and_have_their_own_test_items(tmp_path):
    other = selection(sign=-1, coefficient=-0.28, profile=[])
    for each in other["considered"]:
        each |= {"search": search(-1, site=each["site"]), "coefficient": -0.28}
    page = written(tmp_path, {"selections": [selection(), other]})
    assert page.count("At the recommendation, and around it: add at resid_post.14") == 2
    assert page.count("Metric against coefficient") == 1
    assert {path.name for path in tmp_path.glob("*.png")} == {"selection.png", "sites.png"}
    apart = other | {"site": "resid_post.6"}
    page = written(tmp_path, {"selections": [selection(), apart]})
    assert page.count("Metric against coefficient") == 2
    assert {path.name for path in tmp_path.glob("*.png")} == {"selection.png", "selection-2.png", "sites.png"}


def test_two_directions_at_one_place_have_a_figure_each(tmp_path):
    record = {"selections": [{"name": name, **selection()} for name in ("learned", "mean difference")]}
    page = written(tmp_path, record)
    for name in ("learned", "mean difference"):
        assert f"<h2>Metric against coefficient: {name}</h2>" in page
    assert {path.name for path in tmp_path.glob("selection*.png")} == {"selection.png", "selection-2.png"}
    # Nor do two searches of one sign that nobody named become one line.
    again = tmp_path / "again"
    written(again, {"selections": [search(), search(-1), search(alarm=0.3)]})
    assert {path.name for path in again.glob("selection*.png")} == {"selection.png", "selection-2.png"}


def test_figures_of_an_earlier_page_go_and_other_files_stay(tmp_path):
    written(tmp_path, {"selections": [search(), search(-1), search(alarm=0.3)]})
    assert (tmp_path / "selection-2.svg").is_file()
    (tmp_path / "selection-of-mine.png").write_bytes(b"mine")
    written(tmp_path, {"selections": [search()]})
    assert {path.name for path in tmp_path.glob("*.png")} == {"selection.png", "selection-of-mine.png"}
    assert not (tmp_path / "selection-2.svg").exists()


def test_nothing_within_budget_is_shown_too(tmp_path):
    record = selection(site=None, edit=None, coefficient=None, points=[], profile=[], reason="nothing to recommend")
    record["considered"] = [each | {"coefficient": None} for each in record["considered"]]
    page = written(tmp_path, record)
    assert "nothing to recommend" in page
    assert rows(page, "chosen") == []
    assert page.count("<details>") == 2


# The figure.


def chart_of(*records):
    return selection_chart(parts_of({"selections": list(records)})[0].drawn)


def test_panels_are_the_rules_signal_then_effect_then_cost():
    chart = chart_of(search())
    assert [panel.name for panel in chart.panels] == [
        "selection-logprob",
        "selection-projection",
        "selection-text-kl",
    ]
    assert [panel.title.partition(":")[0] for panel in chart.panels] == [
        "Coherence, by the rule alert",
        "Effect",
        "Cost",
    ]
    assert chart.panels[0].description == (
        "Coherence, by the rule alert, logprob (nats per token), against the coefficient in norm units: -1 unsteered, "
        "-1.5 at 0.5; onset 0.2, recommended 0.3, alarm 0.5."
    )


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_can_be_drawn(rule):
    record = search(rule=rule, sizes=(0.1, 0.3, 0.6, 1.9))
    for trial in record["curve"]:
        size = abs(trial["coefficient"])
        trial["signals"] |= dict.fromkeys(RULES[rule].signals, -0.5 - size) | {"perplexity": 2.0 * 40**size}
    panels = chart_of(record).panels
    assert len(panels) == 4
    assert panels[0].title == f"Coherence, by the rule {rule}"
    assert "alarm 0.5" in inline_svg(panels[0])


def test_the_default_rule_without_a_concept_shows_the_coherence_it_read():
    record = search(rule="default")
    for trial in record["curve"]:
        trial["signals"] |= {"low_logprob": -3.0, "repetition": 0.0}
    assert chart_of(record).panels[0].title == "Coherence, by the rule default"


def test_what_the_default_rule_reads_of_a_concept_is_an_effect():
    record = search(rule="default")
    for trial in record["curve"]:
        trial["signals"] |= dict.fromkeys(RULES["default"].signals, 1.0)
    titles = [panel.title.partition(":") for panel in chart_of(record).panels]
    assert [kind for kind, _, _ in titles] == ["Coherence, by the rule default", "Effect", "Effect", "Effect"]


def test_a_rule_of_ones_own_and_one_without_its_signals_are_drawn_as_what_they_measured(tmp_path):
    page = written(tmp_path, search(rule="mine"))
    assert page.count('class="panel"') == 3
    assert "Coherence, by" not in page


def test_what_cannot_be_drawn_is_refused(tmp_path):
    first = parts_of(search())[0].drawn[0]
    other = replace(first, sites="resid_post.3")
    silent = replace(first, trials=tuple(replace(trial, signals={}) for trial in first.trials))
    for wanted, message in (
        ([], "searches of one place"),
        ([first, other], "searches of one place"),
        ([silent], "trials with signals to draw, got none"),
    ):
        with pytest.raises(InputError, match=message):
            selection_chart(wanted)
    with pytest.raises(InputError, match="expected a record with a curve, with considered places or with selections"):
        write_selection(tmp_path / "none", {"status": "found"})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("rule", "line"), [("coherence", 8.0), ("default", 5.0)])
def test_the_line_drawn_is_what_the_recommendation_keeps(rule, line):
    record = search(rule=rule)
    for trial in record["curve"]:
        trial["signals"] |= {"low_logprob": -3.0 - abs(trial["coefficient"]), "repetition": 0.0}
    (part,) = parts_of(record)
    view = _ruled(part.drawn)
    assert view is not None
    assert view.low == line
