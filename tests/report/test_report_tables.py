import csv

import pytest

from steersman.errors import FileError
from steersman.report import Result, Setting, read_run, results_table, write_csv
from steersman.report.metrics import metric_for
from steersman.report.words import amount, change, interval, signed
from steersman.report.writing import write_atomically

ROWS = [
    Result("refusal", "refusal_rate", "unsteered", None, 0.0, "norm", 2 / 60, 0.0092, 0.1136, 60),
    Result("refusal", "refusal_rate", "steered", "resid_post.14", 0.35, "norm", 28 / 60, 0.346, 0.591, 60),
    Result("refusal", "refusal_rate", "steered", "resid_post.14", 0.5, "norm", 1.0, 0.94, 1.0, 60),
    Result("refusal", "refusal_rate", "prompt", None, None, None, 0.38, 0.27, 0.51, 60),
    Result("fluency", "cross_entropy", "unsteered", None, 0.0, "norm", 3.1, 3.0, 3.2, 40),
    Result("fluency", "cross_entropy", "steered", "resid_post.14", 0.35, "norm", 3.41, None, None, 38),
]
CHOSEN = Setting("resid_post.14", 0.35, "norm")


def test_the_markdown_table_has_one_row_per_setting():
    assert results_table(ROWS, CHOSEN) == (
        "| Setting (95 % intervals) | Refused: harmful prompts (n = 60) "
        "| Cross-entropy: plain text (nats per token) |\n"
        "|:--|--:|--:|\n"
        "| unsteered | 3 % (1-11) | 3.10 (3.00-3.20, n = 40) |\n"
        "| steered, 0.35 of the residual norm at resid_post.14 | 47 % (35-59) | 3.41 (n = 38) |\n"
        "| system prompt | 38 % (27-51) | - |\n"
    )


def test_without_a_choice_every_setting_has_a_row():
    table = results_table(ROWS)
    assert "steered, 0.35 of the residual norm" in table
    assert "| steered, 0.5 of the residual norm at resid_post.14 | 100 % (94-100) | - |" in table


def test_csv_holds_every_row_at_full_precision(run_folder, tmp_path):
    rows = read_run(run_folder).results
    with write_csv(rows, tmp_path / "results.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == len(rows)
    assert [float(row["value"]) for row in found] == [row.value for row in rows]
    assert found[0]["site"] == ""
    assert list(found[0]) == [
        "task",
        "metric",
        "arm",
        "seed",
        "site",
        "coefficient",
        "unit",
        "value",
        "low",
        "high",
        "n",
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "file", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="file cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_carry_their_unit_and_a_true_minus():
    rate, nats = metric_for("refusal", "refusal_rate"), metric_for("refusal", "completion_logprob")
    assert amount(rate, 0.473, 60) == "47 %"
    assert amount(rate, 0.473, 240) == "47.3 %"
    assert amount(rate, None, 60) == "–"
    assert interval(nats, -1.3, -1.1, 60) == "−1.30 to −1.10"
    assert change(rate, -0.012) == "−1.2 points"
    assert change(nats, 0.31) == "+0.31 nats"
    assert signed(-0.0001, 2) == "0.00"
    assert metric_for("new", "odd_rate").label == "Odd rate (new)"
