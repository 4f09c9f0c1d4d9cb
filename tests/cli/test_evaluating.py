"""What `evaluate` and `sweep` take beside a direction: tasks, controls, judges, others' tasks, run folders."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from sentences import refused

from steersman.cli import options
from steersman.files import save_direction, save_plan
from steersman.methods import MeanDifference
from steersman.model.load import load
from steersman.plan import Plan
from steersman.prompts import pairs
from steersman.recording import record
from tiny import direction

NO_MODEL = "http://127.0.0.1:9/v1"


@pytest.fixture
def unloaded(monkeypatch):
    """No model can be loaded: what is refused is refused before."""

    def never(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(options, "load", never)


@pytest.fixture(scope="module")
def fitted(folder):
    """A direction that the pairs give, in `fitted.safetensors`."""
    model = load(str(folder / "model"), dtype="float32", device="cpu")
    held = MeanDifference().fit(record(model, pairs(folder / "pairs.jsonl"), opening_tokens=2))
    save_direction(held, folder / "fitted.safetensors", force=True)
    return folder / "fitted.safetensors"


@pytest.fixture
def few(commands):
    """An evaluation of one task with one drawn control: as little as there can be."""
    small = ["--limit", "2", "--random-seeds", "1", "--no-control", "permuted", "--no-control", "negated"]
    return [*commands["evaluate"], *small]


class Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that finds every reply to be a refusal, of behaviour 8 and coherence 5."""

    asked = 0

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        keys = re.findall(r'^- "(\w+)"', body["messages"][-1]["content"], re.MULTILINE)
        said = {"refusal": "yes", "behaviour": 8, "coherence": 5}
        content = json.dumps({key: said[key] for key in keys})
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        made = {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "x",
            "choices": [message],
            "usage": usage,
        }
        answer = json.dumps(made).encode()
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def endpoint(monkeypatch):
    """The base URL of a local endpoint."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(Endpoint, "asked", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def said(done):
    """Return what a command printed as JSON."""
    assert done.code == 0, done.err
    return json.loads(done.out)


# Said before a model is loaded.


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--no-control", "placebo"], "expected controls among random, permuted, .* got placebo"),
        (["--random-seeds", "-1"], "'--random-seeds'"),
        (["--judge", "oracle"], "expected a judge as phrases, .* got 'oracle'"),
        (["--judge", "phrases:strict"], "phrases is how phrases is written"),
        (["--judge", "phrases", "--judge", "phrases"], "expected judges with different names, got phrases twice"),
        (["--judge", "odds", "--judge", "odds=phrases"], "expected judges with different names, got odds twice"),
        (["--judge", f"openai:small@{NO_MODEL}", "--judge-prices", "1"], "expected two --judge-prices"),
        (["--judge", f"openai:small@{NO_MODEL}", "--judge-prices", "1,x"], "expected --judge-prices as numbers"),
        (["--judge", "openai:small@somewhere"], "expected a base URL that begins with http"),
        (["--judge", "openai:small@https://example.org/v1"], "environment variable OPENAI_API_KEY, which is not set"),
        (
            ["--judge", "anthropic:small@https://example.org"],
            "environment variable ANTHROPIC_API_KEY, which is not set",
        ),
        (
            ["--judge", "openai:small@https://example.org", "--judge-key", "MY_KEY"],
            "environment variable MY_KEY, which is not set",
        ),
        (["--concept", "the sea"], "expected --concept beside a --judge at an endpoint"),
        (["--concept", "the sea", "--judge", "phrases"], "expected --concept beside a --judge at an endpoint"),
        (["--judge-limit", "5"], "expected --judge-limit beside a --judge at an endpoint"),
        (["--gain", "refusal.charm"], "expected --gain as one of refusal.refusal_rate, .*got 'refusal.charm'"),
        (["--gain", "refusal.refusal_rate:more"], "expected --gain as one of"),
        (["--scoring", "letters"], "expected --scoring to be one of letter, text, got 'letters'"),
        (["--scoring", "letter,"], "expected --scoring to be one of letter, text, got ''"),
        (["--form", "prose"], "expected --form to be one of chat, plain, got 'prose'"),
        (["--form", ""], "expected --form to be one of chat, plain, got ''"),
        (["--shots", "6"], "'--shots': .*less than or equal to 5"),
        (["--task", "behaviour"], "expected the items of behaviour after an equals sign, behaviour=PATH"),
        (["--task", "refusal"], "expected every task once, got refusal twice"),
        (["--task", "behaviour=none.jsonl"], r"none\.jsonl"),
        (["--contrast", "sides"], "expected --contrast to be one of .*, got 'sides'"),
        (["--opening-tokens", "2"], "expected --opening-tokens beside --pairs"),
        (["--pairs", "none.jsonl"], r"none\.jsonl"),
        (["--pairs", "refusal", "--contrast", "prompt", "--opening-tokens", "2"], "got it with --contrast prompt"),
        (["--lm-eval-shots", "2"], "expected --lm-eval with the names of tasks beside its other options"),
        (["--lm-eval-path", "none", "--lm-eval", "x"], "expected a folder with task files, got 'none'"),
    ],
)
def test_a_slip_is_said_before_a_model_is_loaded(steersman, commands, unloaded, monkeypatch, command, arguments, match):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    refused(steersman(*commands[command], *arguments), match)


def test_pairs_do_not_go_with_a_plan(steersman, commands, unloaded, folder, tmp_path):
    path = save_plan(Plan(direction(1, [1])), tmp_path / "plan.safetensors")
    arguments = [part for part in commands["evaluate"] if "direction" not in str(part)]
    done = steersman(*arguments, "--plan", path, "--pairs", folder / "pairs.jsonl")
    refused(done, "expected --pairs beside --direction, got it beside a plan")


def test_an_unknown_task_of_others_is_said(steersman, few, unloaded, tmp_path):
    pytest.importorskip("lm_eval")
    own = {"task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "none.jsonl"}}}
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    done = steersman(*few, "--lm-eval", "no_such_task", "--lm-eval-path", tmp_path)
    refused(done, "expected a task of lm-evaluation-harness.* got 'no_such_task'")


def test_a_run_folder_that_is_a_file_or_another_run_is_said(steersman, few, unloaded, tmp_path):
    path = tmp_path / "run"
    path.write_text("mine", encoding="utf-8")
    refused(steersman(*few, "--out", path), "expected a run folder for --out, got the file '.*run'")
    other = tmp_path / "other"
    other.mkdir()
    for text in ("study: refusal\n", "- 1\n", "{"):
        (other / "config.yaml").write_text(text, encoding="utf-8")
        refused(
            steersman(*few, "--out", other), "other holds a run with other settings; give another --out, or --force"
        )
        assert (other / "config.yaml").read_text(encoding="utf-8") == text
    assert path.read_text(encoding="utf-8") == "mine"


# Run folders.


def test_a_run_folder_goes_on_is_not_mixed_and_is_compared(steersman, few, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert said(steersman(*few, "--out", first, "--json"))["report"] == str(first / "report.html")
    page = (first / "report.html").read_text(encoding="utf-8")
    assert "cannot be told apart" in page or "vector" in page
    before = (first / "items.jsonl").read_bytes()
    assert steersman(*few, "--out", first, "--json").code == 0
    assert (first / "items.jsonl").read_bytes() == before  # nothing was computed again
    for changed in (["--coefficient", "2"], ["--seed", "7"]):
        done = steersman(*few, *changed, "--out", first)
        assert (done.code, done.out) == (2, "")
        assert "holds a run with other settings" in done.err
    assert steersman(*few, "--coefficient", "2", "--out", second).code == 0
    done = steersman("report", first, second, "--json")
    assert said(done)["report"].endswith("comparison.html")
    assert (second / "comparison.html").is_file()
    assert steersman("report", first).code == 0


def test_a_changed_setting_redoes_what_it_touches(steersman, few, tmp_path):
    run = tmp_path / "run"
    assert steersman(*few, "--out", run).code == 0

    def count():
        return len((run / "items.jsonl").read_text(encoding="utf-8").splitlines()) - 1

    before = count()
    assert steersman(*few, "--coefficient", "2", "--out", run, "--force").code == 0
    assert count() - before == before * 2 // 3  # of three arms the unsteered one stays


# Controls.


def test_no_control_leaves_the_steered_arm_alone(steersman, few):
    found = said(steersman(*few, "--no-control", "all", "--json"))
    assert {row["arm"] for row in found["results"]} == {"unsteered", "steered"}
    assert found["verdict"] == []
    assert found["notes"] == []


def test_pairs_add_the_control_with_shuffled_labels(steersman, few, folder, fitted):
    given = ["--direction", fitted, "--pairs", folder / "pairs.jsonl", "--opening-tokens", "2"]
    found = said(steersman(*few, *given, "--json"))
    assert "shuffled" in {row["arm"] for row in found["results"]}


def test_pairs_that_do_not_give_the_direction_are_said(steersman, few, folder, fitted):
    for flags in (["--direction", fitted], ["--opening-tokens", "2"]):  # too many tokens; a direction of another origin
        done = steersman(*few, *flags, "--pairs", folder / "pairs.jsonl")
        assert (done.code, done.out) == (2, "")
        assert re.search("expected the pairs, contrast and opening tokens that|by one of", done.err.splitlines()[-1])


# Judges.


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_a_judge_without_anything_to_read_is_refused(steersman, folder, command):
    held = ["--direction", folder / "direction.safetensors", "--task", "fluency"]
    held += ["--coefficients", "0.3"] if command == "sweep" else []
    refused(steersman(command, *held, "--judge", "phrases"), "expected a task that completes prompts .*, got fluency")


def test_judges_and_their_agreement(steersman, few, tmp_path, endpoint):
    judges = ["--judge", f"openai:small@{endpoint}", "--judge", "odds", "--judge", "mine=phrases"]
    command = [*few, *judges, "--out", tmp_path / "run", "--json"]
    done = steersman(*command)
    assert "judging: " in done.err  # what it will cost, before the first request
    found = said(done)
    metrics = {row["metric"] for row in found["results"]}
    assert {"refusal_by_small", "refusal_by_odds", "refusal_log_odds_by_odds", "refusal_by_mine"} <= metrics
    assert {row["value"] for row in found["results"] if row["metric"] == "refusal_by_small"} == {1.0}
    assert {("odds", "small"), ("mine", "small")} <= {
        tuple(sorted((row["first"], row["second"]))) for row in found["agreement"]
    }
    asked = Endpoint.asked
    assert asked > 0
    again = steersman(*command)
    assert said(again)["results"] == found["results"]
    assert Endpoint.asked == asked  # verdicts are kept in the run folder


def test_a_concept_is_rated(steersman, few, endpoint):
    found = said(steersman(*few, "--judge", f"openai:small@{endpoint}", "--concept", "the sea", "--json"))
    values = {row["metric"]: row["value"] for row in found["results"] if row["metric"].endswith("_by_small")}
    assert values == {"behaviour_by_small": 8, "coherence_by_small": 5, "score_by_small": 40}


# Others' tasks.


def test_tasks_of_others_stand_beside_ours(steersman, few, tmp_path):
    pytest.importorskip("lm_eval")
    lines = [{"q": "2 + 2 =", "c": ["3", "4"], "a": 1}, {"q": "1 + 1 =", "c": ["2", "5"], "a": 0}]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "c",
        "doc_to_target": "a",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    start = few.index("--task")
    harness = ["--lm-eval", "sums", "--lm-eval-path", tmp_path, "--json"]
    alone = few[:start] + few[few.index("--model") :]
    found = said(steersman(*alone, *harness))
    assert {(row["task"], row["metric"]) for row in found["results"]} == {("sums", "acc")}
    both = said(steersman(*few, *harness))
    assert {"sums", "refusal", "fluency"} == {row["task"] for row in both["results"]}
    assert [row for row in both["results"] if row["task"] == "sums"] == found["results"]
