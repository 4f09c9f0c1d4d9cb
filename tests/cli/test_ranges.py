"""The recommended range in a direction's file: what commands take, what they warn of, what `inspect` shows."""

import json
from dataclasses import replace

import pytest

from steersman.files import load_direction, load_plan, save_direction
from steersman.plan import Plan
from steersman.range import Range
from steersman.where import Site

UP = Range(Site(3), 1, tried=2.0, recommended=0.31, onset=0.1, alarm=0.52, reason="it [bold]broke[/bold] at 0.52")
DOWN = Range(Site(3), -1, tried=1.5)
BEYOND = (
    "coefficient 0.8 norm at resid_post.3 is beyond 0.52, where this direction's text stopped being coherent "
    "(recommended 0.31)"
)


@pytest.fixture
def known(folder, commands):
    """Each command with a direction that knows its range at layer 3; the usual layer would be 1."""
    held = load_direction(folder / "direction.safetensors")
    path = save_direction(held.with_ranges(UP, DOWN), folder / "known.safetensors", force=True)
    commands["inspect"] = ["inspect", folder / "direction.safetensors"]
    return {
        name: [path if str(each).endswith("direction.safetensors") else each for each in arguments]
        for name, arguments in commands.items()
    }


def test_generate_takes_the_recommendation_where_nothing_was_given_and_says_so(steersman, known):
    done = steersman(*known["generate"], "--json")
    assert done.code == 0
    rows = json.loads(done.out)
    assert [(step["site"], step["coefficient"]) for step in rows[0]["steps"]] == [("resid_post.3", 0.31)]
    assert [row["warnings"] for row in rows] == [[], []]
    assert done.err == (
        "coefficient 0.31 norm at resid_post.3, as the direction's file recommends: it [bold]broke[/bold] at 0.52\n"
    )


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (["--layer", "1"], ("resid_post.1", 0.3)),
        (["--layer", "all"], ("resid_post.0", 0.3)),
        (["--edit", "ablate"], ("resid_post.3", 1.0)),
        (["--span", "generated"], ("resid_post.3", 0.3)),
        (["--coefficient", "0.2"], ("resid_post.3", 0.2)),
    ],
)
def test_generate_goes_by_its_own_figures_where_the_recommendation_does_not_fit(steersman, known, arguments, step):
    done = steersman(*known["generate"], *arguments, "--json")
    assert (done.code, done.err) == (0, "")
    first = json.loads(done.out)[0]["steps"][0]
    assert (first["site"], first["coefficient"]) == step


def test_generate_takes_a_raw_recommendation_in_its_unit(steersman, known, folder):
    held = load_direction(folder / "known.safetensors").at(3)
    done = steersman(*known["generate"], "--unit", "raw", "--json")
    (step,) = json.loads(done.out)[0]["steps"]
    assert step["coefficient"] == pytest.approx(held.recommendation("raw").recommended)
    assert step["length"] == pytest.approx(0.31 * held.norms[Site(3)], rel=1e-5)


def test_generate_warns_beyond_the_range_on_stderr_and_goes_on(steersman, known):
    done = steersman(*known["generate"], "--coefficient", "0.8", "--json")
    assert (done.code, done.err) == (0, f"warning: {BEYOND}\n")
    assert [row["warnings"] for row in json.loads(done.out)] == [[BEYOND], [BEYOND]]
    plain = steersman(*known["generate"], "--coefficient=-1.6")
    assert plain.code == 0
    assert "warning: coefficient -1.6 norm at resid_post.3 is beyond -1.5, as far as" in plain.err
    assert "warning" not in plain.out


def test_a_saved_plan_still_warns(steersman, known, tmp_path):
    plan = tmp_path / "plan.safetensors"
    done = steersman(*known["generate"], "--coefficient", "0.8", "--save-plan", plan)
    assert (done.code, done.err) == (0, f"warning: {BEYOND}\nplan: {plan}\n")
    assert load_plan(plan).beyond() == [BEYOND]
    without = [*known["generate"][:1], "--plan", plan, *known["generate"][3:]]
    again = steersman(*without)
    assert (again.code, again.err) == (0, f"warning: {BEYOND}\n")


def test_evaluate_takes_the_recommendation(steersman, known):
    done = steersman(*known["evaluate"], "--no-control", "all", "--limit", "2", "--json")
    assert done.code == 0
    assert "coefficient 0.31 norm at resid_post.3, as the direction's file recommends" in done.err
    found = json.loads(done.out)
    assert {row["coefficient"] for row in found["results"] if row["arm"] == "steered"} == {0.31}
    assert found["warnings"] == []


def test_sweep_warns_once_of_all_coefficients_beyond_and_writes_it_down(steersman, known, tmp_path):
    arguments = [*known["sweep"][:-1], "--coefficients=0.2,0.6,0.8", "--no-control", "all", "--limit", "2"]
    done = steersman(*arguments, "--out", tmp_path / "run", "--json")
    assert done.code == 0
    sentence = BEYOND.replace("coefficient 0.8", "coefficients 0.6, 0.8").replace(" is beyond", " are beyond")
    assert done.err.count("warning: ") == 1
    assert f"warning: {sentence}\n" in done.err
    assert json.loads(done.out)["warnings"] == [sentence]
    assert sentence in json.loads((tmp_path / "run" / "summary.json").read_text())["notes"]


def test_export_warns_of_what_is_made_for_good(steersman, known, tmp_path):
    held = known["generate"][1:3]
    arguments = ["export", *held, "--layer", "3", "--format", "gguf", "--out", tmp_path / "v.gguf"]
    done = steersman(*arguments, "--coefficient", "0.8")
    assert done.code == 0
    assert f"warning: {BEYOND}\n" in done.err
    assert "warning" not in steersman(*arguments, "--coefficient", "0.5", "--force").err


def test_inspect_shows_the_ranges(steersman, known, folder):
    done = steersman(*known["inspect"])
    assert done.code == 0
    up, down = (line.split() for line in done.out.splitlines() if line.startswith("resid_post.3  norm"))
    assert up[1:8] == ["norm", "add", "all", "0.1", "0.31", "0.52", "2"]
    assert " ".join(up[8:]) == "it [bold]broke[/bold] at 0.52"
    assert down[4:9] == ["-", "-", "-", "-1.5", "-"]
    found = json.loads(steersman(*known["inspect"], "--json").out)["directions"]["known"]
    assert found["ranges"] == [UP.plain(), DOWN.plain()]
    other = steersman(*known["inspect"], "--layer", "1", "--json")
    assert json.loads(other.out)["directions"]["known"]["ranges"] == []
    assert "recommended" not in steersman("inspect", folder / "direction.safetensors").out


def test_of_several_places_what_was_found_last_is_taken(steersman, folder, known):
    held = load_direction(folder / "known.safetensors")
    several = held.with_ranges(replace(UP, site=Site(1), recommended=None), replace(UP, site=Site(0), recommended=0.2))
    save_direction(several, folder / "known.safetensors", force=True)
    (step,) = json.loads(steersman(*known["generate"], "--json").out)[0]["steps"]
    assert (step["site"], step["coefficient"]) == ("resid_post.0", 0.2)


def test_what_is_generated_is_what_the_plan_does(steersman, known, folder):
    held = load_direction(folder / "known.safetensors").at(3)
    (step,) = json.loads(steersman(*known["generate"], "--json").out)[0]["steps"]
    assert [step] == Plan(held, coefficient=0.31).describe()
