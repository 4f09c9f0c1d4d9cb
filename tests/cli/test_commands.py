"""The commands on a tiny model in a folder: what they print is what the verbs return."""

import json
import re
import shlex

import pytest

from steersman.cli import app
from steersman.cli.tables import MAIN
from steersman.files import load_direction, save_direction
from steersman.maths.geometry import cosine
from steersman.methods import MeanDifference
from steersman.model.generate import Generation
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import pairs
from steersman.recording import record
from steersman.version import VERSION
from tiny import direction

COMMANDS = ("models", "extract", "inspect", "export", "import", "generate", "evaluate", "sweep", "run", "report")
COMMANDS += ("select", "compose")


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder / "model"), dtype="float32", device="cpu")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_of_the_command_itself(steersman, command):
    done = steersman(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: steersman {command}" in " ".join(done.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_the_help_is_one_that_parses(steersman, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    example = " ".join(steersman(command, "--help").out.split()).partition("Example: steersman ")[2]
    # Nothing it names is here: it must fail over that, not over an option.
    done = steersman(*shlex.split(example), *(["--model", "./none"] if command in ("extract", "run") else []))
    assert "No such option" not in done.err
    assert "Missing" not in done.err
    assert "--help" not in done.err
    assert done.code == (0 if command == "models" else 2)


def test_help_lists_every_command_and_no_command_shows_it(steersman):
    done = steersman("--help")
    assert (done.code, done.err) == (0, "")
    assert all(f"\n  {command} " in done.out for command in (*COMMANDS, "bench"))
    assert "Example: steersman generate" in done.out
    assert steersman() == done


def test_version(steersman):
    assert steersman("--version") == (0, f"{VERSION}\n", "")


def test_verbose_says_how_the_model_is_read(steersman, commands):
    done = steersman("--verbose", *commands["generate"])
    assert "reads rows together up to where their plans differ" in done.err
    assert "4 rows of 2 texts in 1 passes, behind 0 shared beginnings" in done.err
    quiet = steersman(*commands["generate"])
    assert quiet.out == done.out
    assert "texts in" not in quiet.err


def test_models_lists_the_default_first(steersman, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path))
    listed = json.loads(steersman("models", "--json").out)
    assert (listed[0]["name"], listed[0]["path"]) == ("default", None)
    assert listed[0]["state"].startswith("not fetched")
    assert list(listed[0]) == ["name", "kind", "state", "bytes", "path"]
    done = steersman("models")
    assert (done.code, "default" in done.out) == (0, True)


def test_extract_writes_what_the_verbs_fit(steersman, commands, folder, model):
    done = steersman(*commands["extract"], "--json")
    assert done.code == 0
    printed = json.loads(done.out)
    held = load_direction(printed["file"])
    wanted = MeanDifference().fit(record(model, pairs(folder / "pairs.jsonl")))
    assert (printed["of"], printed["method"], len(printed["layers"])) == ("6 pairs", "mean difference", 4)
    assert held.origin == wanted.origin
    for row, site in zip(printed["layers"], wanted.sites, strict=True):
        assert cosine(held.vectors[site], wanted.vectors[site]) == pytest.approx(1, abs=1e-5)
        assert row["residual_norm"] == held.norms[site]
        assert row["separation"] == held.diagnostics["separation"][site]


def test_extract_for_people_says_where_it_went(steersman, commands, tmp_path):
    done = steersman(*commands["extract"])
    assert done.code == 0
    assert "held-out AUROC" in done.out
    assert f"mean difference of 6 pairs at 4 sites, saved to {tmp_path / 'new.safetensors'}" in done.err


def test_an_extracted_direction_steers(steersman, commands):
    assert steersman(*commands["extract"]).code == 0
    out = commands["extract"][commands["extract"].index("--out") + 1]
    done = steersman(*commands["generate"], "--direction", out, "--layer", 1, "--json")
    assert done.code == 0
    assert json.loads(done.out)[0]["steps"][0]["site"] == "resid_post.1"


@pytest.mark.parametrize("unit", ["norm", "raw"])
@pytest.mark.parametrize("layers", [[], [0], [1, 3], [-1]])
def test_generate_prints_what_the_verb_returns(steersman, commands, folder, model, unit, layers):
    flags = [part for layer in layers for part in ("--layer", layer)]
    done = steersman(*commands["generate"], *flags, "--unit", unit, "--coefficient", "-1.5", "--json")
    assert done.code == 0
    held = load_direction(folder / "direction.safetensors").at(*(layers or [1]))  # 1 is nearest to 40 % of 4
    plan = Plan(held, coefficient=-1.5, unit=unit)
    prompts = ["Hi", "What is [bold]that[/bold]?"]
    rows = json.loads(done.out)
    assert [row["prompt"] for row in rows] == prompts
    assert [row["unsteered"] for row in rows] == model.generate(prompts, max_new_tokens=6)
    assert [row["steered"] for row in rows] == model.generate(prompts, plan, max_new_tokens=6)
    assert [row["steps"] for row in rows] == [plan.describe()] * 2
    assert any(row["steered"] != row["unsteered"] for row in rows)


def test_brackets_are_text_not_markup(steersman, commands, monkeypatch):
    texts = [Generation(text, (), "stop") for text in ("[red]plain[/red]", "[/nothing] [link=x]steered")]
    monkeypatch.setattr(Model, "complete", lambda *_, **__: texts * 2)
    done = steersman(*commands["generate"])
    assert done.code == 0
    for text in (
        "What is [bold]that[/bold]?",
        "[red]plain[/red]",
        "[/nothing] [link=x]steered",
        "steered: add 0.3 norm at layer 1",
    ):
        assert text in done.out


def rows_of(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_evaluate_measures_every_arm_on_the_same_items(steersman, commands):
    found = rows_of(steersman(*commands["evaluate"], "--prompt-arm", "Refuse.", "--json"))
    rates = {row["n"] for row in found["results"] if row["metric"] in ("refusal_rate", "cross_entropy")}
    assert rates == {5, 3}
    arms = [(row["arm"], row["seed"], row["coefficient"]) for row in found["results"] if row["task"] == "fluency"]
    assert arms == [
        ("unsteered", None, 0.0),
        ("steered", None, 0.3),
        ("random", 1, 0.3),
        ("random", 2, 0.3),
        ("random", 3, 0.3),
        ("random", None, 0.3),
        ("permuted", 1, 0.3),
        ("negated", None, 0.3),
        ("prompt", None, 0.0),
        ("prompt+steered", None, 0.3),
    ]
    assert {row["arm"] for row in found["differences"]} == {arm for arm, *_ in arms} - {"unsteered"}
    values = {row["value"] for row in found["results"] if row["task"] == "fluency"}
    assert len(values) == len(arms)  # every arm does something of its own
    assert [sentence.split()[0] for sentence in found["verdict"]] == ["Vector", "The"]


def test_sweep_measures_zero_every_coefficient_and_the_controls_at_the_strongest(steersman, commands):
    found = rows_of(steersman(*commands["sweep"], "--coefficients=0,0.2,-0.6,0.2", "--unit", "raw", "--json"))
    arms = [(r["arm"], r["coefficient"], r["unit"]) for r in found["results"] if r["task"] == "fluency"]
    assert arms == [
        ("unsteered", 0.0, "norm"),
        ("steered", -0.6, "raw"),
        ("steered", 0.2, "raw"),
        *[("random", -0.6, "raw")] * 4,
        ("permuted", -0.6, "raw"),
        ("negated", -0.6, "raw"),
    ]


def test_the_table_for_people_holds_the_same_numbers(steersman, commands):
    found = rows_of(steersman(*commands["evaluate"], "--json"))
    done = steersman(*commands["evaluate"])
    assert done.code == 0
    shown = [row for row in found["results"] if row["metric"] in MAIN and row["arm"] != "random"]
    shown += [row for row in found["results"] if row["metric"] in MAIN and row["arm"] == "random" and not row["seed"]]
    # Refusals, firm ones, their likelihood and fluency, five arms each: of three random directions their mean.
    assert len(shown) == 4 * 5
    for row in shown:
        assert f"{row['value']:.3f}" in done.out
    assert "95 % interval" in done.out
    assert found["verdict"][0] in done.out


def test_the_same_command_prints_the_same_bytes(steersman, commands):
    assert steersman(*commands["sweep"], "--json").out == steersman(*commands["sweep"], "--json").out


def test_a_direction_of_other_weights_is_remarked_on(steersman, commands, tmp_path):
    path = save_direction(direction(), tmp_path / "other.safetensors")
    done = steersman(*commands["generate"], "--direction", path)
    assert (done.code, done.err) == (0, "note: the direction was fitted on tiny, other weights than model\n")


def test_a_limit_takes_fewer_items(steersman, commands):
    found = rows_of(steersman(*commands["evaluate"], "--limit", 2, "--json"))
    assert {row["n"] for row in found["results"] if row["metric"] != "completion_logprob"} == {2}


def test_progress_goes_to_stderr_and_json_alone_to_stdout(steersman, commands):
    done = steersman(*commands["evaluate"], "--json")
    json.loads(done.out)
    *notes, last = done.err.splitlines()
    assert last == "evaluate: 56 items"  # eight under each of seven settings
    assert [re.sub(":.*", "", note) for note in notes] == ["no shuffled-label control", "no prompt arm"]


def test_main_leaves_with_the_exit_code(monkeypatch, capsys):
    for arguments, code in ((["--version"], 0), (["nonsense"], 2)):
        monkeypatch.setattr("sys.argv", ["steersman", *arguments])
        with pytest.raises(SystemExit) as left:
            app.main()
        assert left.value.code == code
