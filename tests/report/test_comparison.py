"""Two runs are compared item by item: planted differences are found, equal runs differ in nothing."""

import json
from html.parser import HTMLParser

import pytest
import yaml

from steersman.errors import DataError, FileError, InputError
from steersman.evaluation import Measured, summarise
from steersman.report import compare_runs, comparison_table, write_comparison
from steersman.runs import write_results
from steersman.tasks import Metric, Outcome, Setting

SETTINGS = [Setting("unsteered"), Setting("steered", site="resid_post.3", coefficient=0.3)]
RATE, MEAN = Metric("matching_logprob", "rate", ""), Metric("cross_entropy", "mean", "nats")


class Made:
    """A task whose numbers are given."""

    items = ()

    def __init__(self, name):
        self.name, self.metrics = name, (RATE, MEAN)

    def remarks(self, outcomes):
        return []


def run(folder, *, gained=0, shift=0.0, items=range(60), task="behaviour", config=None, settings=SETTINGS):
    """A run folder whose steered arm says yes on 20 items and so many more, at a cross-entropy moved by `shift`."""
    measured = []
    for setting in settings:
        more = gained if setting.arm == "steered" else 0
        push = shift if setting.arm == "steered" else 0.0
        outcomes = [
            Outcome(f"i{i}", {RATE.name: float(i < 20 + more), MEAN.name: 3 + (i % 7) / 7 + push}) for i in items
        ]
        measured.append(Measured(Made(task), setting, outcomes))
    folder.mkdir()
    write_results(folder, summarise(measured), summary={"title": folder.name, "study": "evaluation"})
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0}))
    return folder


def by_key(found):
    return {(one.metric, one.arm): one for one in found.changes}


def test_a_run_compared_with_itself_differs_in_nothing(tmp_path):
    found = compare_runs(run(tmp_path / "a"), tmp_path / "a")
    assert len(found.changes) == 4
    assert all(one.difference.value == one.moved == 0 and not one.clear for one in found.changes)
    assert (list(found.configuration), list(found.only_first), list(found.only_second)) == ([], [], [])
    assert found.finding == "4 numbers compared on the same items: not one item differs."


def test_planted_differences_are_found_where_they_were_planted(tmp_path):
    first = run(tmp_path / "a", config={"seed": 0, "sweep": {"grid": [0.3]}})
    second = run(tmp_path / "b", gained=15, shift=-0.25, config={"seed": 0, "sweep": {"grid": [0.3, 0.4]}, "new": 1})
    found = compare_runs(first, second, seed=3)
    each = by_key(found)
    rate, mean = each[RATE.name, "steered"], each[MEAN.name, "steered"]
    assert (rate.before, rate.after, rate.moved) == (20 / 60, 35 / 60, 15)
    assert rate.difference.value == pytest.approx(0.25)
    assert rate.difference.low < 0.25 < rate.difference.high
    # paired: the same shift of every item leaves no doubt, whatever the spread between items
    assert (mean.difference.low, mean.difference.high) == pytest.approx((-0.25, -0.25))
    assert rate.clear
    assert mean.clear
    assert not any(each[name, "unsteered"].moved for name in (RATE.name, MEAN.name))
    assert list(found.configuration) == [("sweep.grid", "[0.3]", "[0.3, 0.4]"), ("new", "absent", "1")]
    table = comparison_table(found, clear=True)
    assert len(table.splitlines()) == 4
    assert "| steered, 0.3 of the residual norm at resid_post.3 | 33 % | 58 % | +25.0 points (" in table


@pytest.mark.parametrize(("items", "clear"), [(5, False), (6, True)])
def test_fewer_than_six_items_are_no_finding(tmp_path, items, clear):
    # All moved by the same amount: the interval has no width, and two in 2 ** items sign patterns are as far from zero.
    first, second = run(tmp_path / "a", items=range(items)), run(tmp_path / "b", items=range(items), shift=-0.25)
    mean = by_key(compare_runs(first, second))[MEAN.name, "steered"]
    assert mean.difference.sign == -1
    assert mean.clear is clear


def test_swapped_runs_differ_the_other_way(tmp_path):
    first, second = run(tmp_path / "a"), run(tmp_path / "b", gained=9)
    there, back = compare_runs(first, second), compare_runs(second, first)
    assert [one.difference.value for one in there.changes] == [-one.difference.value for one in back.changes]


def test_only_shared_items_count_and_the_others_are_counted(tmp_path):
    first = run(tmp_path / "a", items=range(60))
    second = run(tmp_path / "b", items=range(10, 65), gained=5)
    found = compare_runs(first, second)
    assert {one.difference.n for one in found.changes} == {50}
    assert [count for _, count in found.only_first] == [10]
    assert [count for _, count in found.only_second] == [5]
    assert found.only_first[0][0] == "behaviour, unsteered; steered, 0.3 of the residual norm at resid_post.3"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.references = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.references += [value for name, value in attributes if name in {"src", "href", "xlink:href"}]


def test_the_page_holds_everything_itself_and_says_it_as_text(tmp_path):
    first = run(tmp_path / "a", task="<script>x</script>")
    second = run(tmp_path / "b", task="<script>x</script>", gained=9, items=range(50), config={"<img>": 1})
    path = write_comparison(compare_runs(first, second), tmp_path)
    assert path == tmp_path / "comparison.html"
    html = path.read_text(encoding="utf-8")
    reader = Tags()
    reader.feed(html)
    assert not {"script", "img", "link", "iframe"} & reader.tags
    assert all(reference.startswith("#") for reference in reader.references)
    assert "Only in the first: 10 items of" in html
    assert write_comparison(compare_runs(first, second), tmp_path).read_text(encoding="utf-8") == html


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"task": "knowledge"}, InputError, r"common task, got behaviour in .*a and knowledge in .*b; nothing can be"),
        ({"items": range(100, 120)}, InputError, r"items that .* both measured under the same setting, got none"),
    ],
)
def test_runs_that_share_nothing_are_refused(tmp_path, change, error, match):
    with pytest.raises(error, match=match):
        compare_runs(run(tmp_path / "a"), run(tmp_path / "b", **change))


def test_what_is_no_run_is_refused(tmp_path):
    first = run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"empty/results\.json does not exist; give the folder"):
        compare_runs(first, tmp_path / "empty")
    old = run(tmp_path / "old")
    (old / "outcomes.jsonl").unlink()
    with pytest.raises(FileError, match=r"outcomes\.jsonl, which holds every item's numbers, but .* does not exist"):
        compare_runs(first, old)
    (old / "outcomes.jsonl").write_text(json.dumps({"task": "behaviour"}) + "\n")
    with pytest.raises(DataError, match=r"outcomes\.jsonl, line 1: expected an object with task, item, arm"):
        compare_runs(first, old)
