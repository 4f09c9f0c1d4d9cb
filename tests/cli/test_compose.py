"""The command compose: what it predicts, what it writes for the other commands, and what it refuses."""

import dataclasses
import json

import pytest
import torch
from sentences import refused

from steersman.composition import combined, compose, inject
from steersman.files import load_direction, load_plan, save_direction
from steersman.maths.geometry import cosine
from steersman.model.load import load
from steersman.model.sources import resolve
from steersman.plan import Plan
from steersman.range import Range
from steersman.where import Site
from tiny import direction

WARNED = "warning: "


@pytest.fixture(scope="module")
def held(folder):
    """Three directions of the model in `folder`, in files called by their names; two of them opposed at layer 2."""
    revision = resolve(folder / "model").revision
    found = {name: direction(seed, [0, 1, 2, 3]) for seed, name in enumerate(("calm", "bold", "warm"), 1)}
    vectors = {**found["bold"].vectors, Site(2): -found["calm"].vectors[Site(2)] + 0.5 * found["bold"].vectors[Site(2)]}
    found["bold"] = dataclasses.replace(found["bold"], vectors=vectors)
    for name, one in found.items():
        found[name] = dataclasses.replace(one, origin=dataclasses.replace(one.origin, revision=revision))
        save_direction(found[name], folder / f"{name}.safetensors", force=True)
    return found


@pytest.fixture
def given(folder, held) -> list[object]:
    """The command as it works: three directions, none of them fighting at layer 1."""
    return ["compose", *(part for name in held for part in ("--direction", folder / f"{name}.safetensors"))]


def parsed(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("how", ["sum", "mean", "gram-schmidt", "symmetric"])
def test_json_is_what_the_verb_returns(steersman, given, held, how):
    done = steersman(
        *given, "--how", how, "--weight", "calm=2", "--weight", "warm=-0.5", "--layer", "1", "--scale", "0.1", "--json"
    )
    expected = compose(held, how, at=1, weights={"calm": 2, "warm": -0.5}, scale=0.1)
    found = parsed(done)
    assert found["compositions"] == [json.loads(json.dumps(expected.plain()))]
    assert found["warnings"] == expected.warnings()
    assert list(found) == ["compositions", "notes", "warnings"]
    assert found["notes"] == []


def test_solve_meets_its_targets_and_leaves_the_others_alone(steersman, given, held, tmp_path):
    path = tmp_path / "both.safetensors"
    targets = ["--target", "calm=0.2", "--target", "bold=-0.1"]
    found = parsed(steersman(*given, "--how", "solve", *targets, "--layer", "2", "--save-plan", path, "--json"))
    assert found["plan"] == str(path)
    (step,) = load_plan(path).steps
    vector = step.coefficient * step.vector.double()
    for name, wanted in (("calm", 0.2), ("bold", -0.1), ("warm", 0.0)):
        reached = float(vector @ held[name].units(Site(2)).double()) / held[name].norms[Site(2)]
        assert reached == pytest.approx(wanted, abs=1e-5)
    bounded = parsed(
        steersman(*given, "--how", "solve", *targets, "--layer", "2", "--most", "0.05", "--scale", "2", "--json")
    )
    assert bounded["compositions"][0]["pushes"] == {"resid_post.2": pytest.approx(0.05)}
    missed = bounded["compositions"][0]["residual"]
    assert missed > 0.1
    shown = steersman(*given, "--how", "solve", *targets, "--layer", "2", "--most", "0.05", "--scale", "2").out
    assert f"residual of the targets: {missed:.2g} norm" in shown


def test_those_that_fight_are_warned_of_on_stderr(steersman, given, held):
    done = steersman(*given, "--layer", "2", "--json")
    value = cosine(held["calm"].vectors[Site(2)], held["bold"].vectors[Site(2)])
    assert f"{WARNED}calm at resid_post.2 and bold at resid_post.2 fight: cosine {value:+.2f}" in done.err
    assert f"{WARNED}bold at resid_post.2 is predicted to be weakened: asked for +0.3 norm" in done.err
    assert parsed(done)["warnings"] == [line.removeprefix(WARNED) for line in done.err.splitlines()]
    assert "fight" not in steersman(*given, "--layer", "2", "--threshold", "0.95").err
    assert "fight" not in steersman(*given, "--layer", "1").err


def test_people_get_cosines_and_predictions(steersman, given, held):
    done = steersman(*given, "--how", "symmetric", "--layer", "1", "--scale", "0.1")
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "Cosines calm bold warm" in words
    value = cosine(held["calm"].vectors[Site(1)], held["bold"].vectors[Site(1)])
    assert f"calm +1.00 {value:+.2f}" in words
    assert "symmetric, norm units" in words
    first = compose(held, "symmetric", at=1, scale=0.1).members[0]
    assert f"calm resid_post.1 +0.1 {first.coefficient:+.3g} {first.effect:+.3g} kept" in words
    assert "added, as a fraction of the residual norm: 0.173 at resid_post.1" in words


def test_the_plan_and_the_direction_steer_as_predicted(steersman, given, held, folder, tmp_path):
    plan, whole = tmp_path / "plan.safetensors", tmp_path / "whole.safetensors"
    done = steersman(*given, "--layer", "1", "--scale", "0.4", "--save-plan", plan, "--out", whole)
    assert done.code == 0
    assert done.err.splitlines()[-2:] == [f"direction: {whole}", f"plan: {plan}"]
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu", "--max-new-tokens", "8", "--json"]
    prompts = ["Hi", "What is that?"]
    by_plan = parsed(steersman("generate", "--plan", plan, *model, *prompts))
    raw = ["--direction", whole, "--unit", "raw", "--coefficient", "0.4", "--layer", "1"]
    by_direction = parsed(steersman("generate", *raw, *model, *prompts))
    loaded = load(str(folder / "model"), dtype="float32", device="cpu")
    expected = loaded.generate(prompts, inject(held, at=1, scale=0.4).plan, max_new_tokens=8)
    assert [row["steered"] for row in by_plan] == [row["steered"] for row in by_direction] == expected
    assert expected != [row["unsteered"] for row in by_plan]
    assert load_direction(whole).ranges == ()
    assert load_direction(whole).method == "sum of calm 1, bold 1, warm 1 in norm units of each"


def test_each_at_its_own_layer(steersman, given, held, folder, tmp_path):
    path = tmp_path / "plan.safetensors"
    layers = ["--layer", "1", "--layer", "warm=resid_post.3", "--layer", "bold=0.5"]
    command = [*given, "--how", "simultaneous", *layers, "--weight", "bold=-1", "--unit", "raw", "--scale", "0.7"]
    found = parsed(steersman(*command, "--span", "prompt", "--save-plan", path, "--json"))
    expected = inject(
        held, at={"calm": 1, "bold": 2, "warm": 3}, weights={"bold": -1}, unit="raw", scale=0.7, span="prompt"
    )
    assert load_plan(path) == expected.plan
    assert found["compositions"] == [json.loads(json.dumps(expected.plain()))]
    assert [(step["site"], step["coefficient"]) for step in found["compositions"][0]["steps"]] == [
        ("resid_post.1", 0.7),
        ("resid_post.2", -0.7),
        ("resid_post.3", 0.7),
    ]
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    rows = parsed(steersman("generate", "--plan", path, *model, "--max-new-tokens", "4", "--json", "Hi"))
    assert rows[0]["steps"] == expected.plan.describe()


def test_the_fair_comparison_is_at_one_layer_for_all(steersman, given, held, tmp_path):
    paths = [tmp_path / "one.safetensors", tmp_path / "sum.safetensors"]
    for how, path in zip(("simultaneous", "sum"), paths, strict=True):
        assert steersman(*given, "--how", how, "--layer", "2", "--save-plan", path).code == 0
    several, one = map(load_plan, paths)
    assert (len(several), len(one)) == (3, 1)
    pushes = [sum(step.coefficient * step.vector for step in plan) for plan in (several, one)]
    torch.testing.assert_close(*pushes)


def test_every_layer_makes_a_direction_that_can_be_searched(steersman, given, held, tmp_path):
    path = tmp_path / "whole.safetensors"
    done = steersman(*given, "--layer", "all", "--out", path, "--how", "symmetric")
    assert done.code == 0
    assert "1 more sites are not shown; --json has them" in done.err
    assert torch.equal(load_direction(path).vectors[Site(3)], combined(held, "symmetric").vectors[Site(3)])
    assert load_direction(path).sites == held["calm"].sites
    # Where no layer is named, the usual one is taken.
    assert parsed(steersman(*given, "--json"))["compositions"][0]["steps"][0]["site"] == "resid_post.2"


def test_names_are_the_files_or_those_given(steersman, folder, held):
    files = ["--direction", f"serene={folder / 'calm.safetensors'}", "--direction", folder / "warm.safetensors"]
    found = parsed(steersman("compose", *files, "--layer", "1", "--json"))
    assert [each["name"] for each in found["compositions"][0]["directions"]] == ["serene", "warm"]


def test_what_is_known_of_a_coefficient_is_warned_of(steersman, folder, held, tmp_path):
    known = Range(Site(1), 1, tried=0.3, recommended=0.1, alarm=0.2)
    save_direction(held["calm"].with_ranges(known), tmp_path / "known.safetensors")
    files = ["--direction", tmp_path / "known.safetensors", "--direction", folder / "warm.safetensors"]
    done = steersman("compose", *files, "--how", "simultaneous", "--scale", "0.25")
    assert "warning: coefficient 0.25 norm at resid_post.1 is beyond 0.2" in done.err
    assert "known" in done.out
    # Each without a place acts where its own file recommends, or at the usual layer.
    assert [line.split()[:2] for line in done.out.splitlines() if "resid_post" in line][:2] == [
        ["known", "resid_post.1"],
        ["warm", "resid_post.2"],
    ]


def test_what_makes_cosines_say_little_is_noted(steersman, tmp_path):
    for seed, name in enumerate(("massive", "plain")):
        one = direction(seed, [1], width=128)
        vectors = {site: vector.clone() for site, vector in one.vectors.items()}
        vectors[Site(1)][5] += 40.0 if name == "massive" else 0.0
        origin = dataclasses.replace(one.origin, revision="" if name == "massive" else "0" * 64)
        save_direction(dataclasses.replace(one, vectors=vectors, origin=origin), tmp_path / f"{name}.safetensors")
    files = [part for name in ("massive", "plain") for part in ("--direction", tmp_path / f"{name}.safetensors")]
    done = steersman("compose", *files, "--scale", "0.1")
    unknown, massive = done.err.splitlines()
    assert unknown.startswith("note: nothing says on which weights massive was fitted")
    assert massive.startswith("note: massive: 2 coordinates hold more than 20%")
    found = parsed(steersman("compose", *files, "--scale", "0.1", "--json"))
    assert [f"note: {sentence}" for sentence in found["notes"]] == [unknown, massive]


def test_predictions_of_several_sites_are_said_to_count_each_by_itself(steersman, given, tmp_path):
    """The plan adds at every one of them, and the prediction at a site knows nothing of what was added before."""
    several, plan = [*given, "--layer", "1,3", "--scale", "0.1"], tmp_path / "plan.safetensors"
    note = "note: the plan adds at 2 sites; predictions and lengths count each site by itself"
    assert note in steersman(*several, "--save-plan", plan).err
    assert {step.site for step in load_plan(plan)} == {Site(1), Site(3)}
    assert note not in steersman(*several).err
    one = tmp_path / "one.safetensors"
    assert note not in steersman(*given, "--layer", "1", "--scale", "0.1", "--save-plan", one).err


def test_every_other_command_takes_the_plan_or_says_where_it_goes(steersman, given, commands, folder, tmp_path):
    layers = ["--layer", "1", "--layer", "warm=2", "--layer", "bold=3"]
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    for how, more in (("sum", ["--layer", "2", "--unit", "raw"]), ("simultaneous", layers)):
        plan = tmp_path / f"{how}.safetensors"
        assert steersman(*given, "--how", how, *more, "--scale", "0.4", "--save-plan", plan).code == 0
        for name in ("generate", "evaluate", "sweep"):
            command = list(commands[name])
            where = command.index("--direction")
            command[where : where + 2] = ["--plan", plan]
            assert steersman(*command).code == 0
        exported = ["--format", "gguf", "--out", tmp_path / f"{how}.gguf"]
        assert steersman("export", "--plan", plan, *exported).code == 0
        takes = r"got the plan file '.*'; give it with --plan to generate, evaluate, sweep or export"
        refused(steersman("inspect", plan), takes)
        refused(steersman("select", "--direction", plan, *model), takes)
        refused(steersman("compose", "--direction", plan, "--direction", folder / "calm.safetensors"), takes)


def test_what_would_do_nothing_is_not_written(steersman, folder, held, tmp_path):
    """The opposite of `generate --plan`, which refuses a plan that does nothing: no such plan is made."""
    twin = [part for name in ("calm", "twin") for part in ("--direction", f"{name}={folder / 'calm.safetensors'}")]
    for how in ("sum", "simultaneous"):
        command = ["compose", *twin, "--how", how, "--layer", "1", "--weight", "twin=-1"]
        refused(
            steersman(*command, "--save-plan", tmp_path / "nothing.safetensors"),
            r"leave something when added at resid_post\.1, got ones that cancel",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--how", "product"], "expected --how to be one of mean, sum, .*, simultaneous, got 'product'"),
        (["--how", "solve"], "expected --target NAME=0.3 with --how solve"),
        (["--target", "calm=1"], "expected --target NAME=0.3 with --how solve and --weight with any other"),
        (["--how", "solve", "--target", "calm=1", "--weight", "bold=1"], "expected --target NAME=0.3 with --how solve"),
        (["--most", "1"], "expected --most with --how solve, got it with --how sum"),
        (["--how", "solve", "--target", "calm=1", "--most", "0"], "expected a length above 0 as the bound, got 0"),
        (["--how", "solve", "--target", "calm=1", "--most=-0.5"], r"a length above 0 as the bound, got -0\.5"),
        (["--how", "solve", "--target", "calm=1", "--most", "nan"], "a length above 0 as the bound, got nan"),
        (["--how", "mean", "--weight", "calm=1e308"], r"expected numbers of at most 1e\+15 in size, got 1e\+308"),
        (["--weight", "calm"], "expected --weight NAME=NUMBER, such as --weight kind=0.3, got 'calm'"),
        (["--weight", "calm=much"], "expected --weight NAME=NUMBER, .* got 'calm=much'"),
        (["--weight", "calm=1", "--weight", "calm=2"], "expected one --weight for 'calm', got two"),
        (["--weight", "kalm=1"], "expected a name among calm, bold, warm, got 'kalm'"),
        (["--weight", "calm=inf"], "expected finite numbers"),
        (["--scale", "0"], "expected a finite scale other than 0, got 0"),
        (["--unit", "miles"], "expected --unit to be one of norm, raw, got 'miles'"),
        (["--span", "middle"], "expected a span among"),
        (["--span", "end"], "got 'end', which is for recording"),
        (["--threshold", "0"], "expected a threshold above 0"),
        (["--layer", "9"], "calm: expected a layer from -4 to 3, got 9"),
        (["--layer", "attn_out.1"], r"calm: expected a layer that the direction holds .*, got attn_out\.1"),
        (["--layer", "calm=1"], "expected --layer calm=1 with --how simultaneous; one vector takes --layer PLACE"),
        (["--how", "simultaneous", "--layer", "kalm=1"], "expected one --layer PLACE for all, .* got 'kalm=1'"),
        (["--how", "simultaneous", "--layer", "calm=1", "--layer", "calm=2"], "got 'calm=2'"),
        (["--how", "simultaneous", "--layer", "1", "--layer", "2"], "expected one --layer PLACE for all, .* got '2'"),
        (["--how", "simultaneous", "--layer", "calm=1:3"], "calm: expected one site for --layer calm=PLACE, got 2"),
        (["--how", "simultaneous", "--out", "x.safetensors"], "expected --out for one vector"),
        (["--direction", "none.safetensors"], r"none\.safetensors"),
        (["--direction", "=x"], "expected --direction NAME=FILE, got '=x'"),
        (["--direction", "calm=x"], "expected directions of different names, got 'calm' twice"),
        (["--out", "x.bin"], "x.bin"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(steersman, given, tmp_path, monkeypatch, more, match):
    monkeypatch.chdir(tmp_path)
    refused(steersman(*given, "--layer", "1", *more) if "--layer" not in more else steersman(*given, *more), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (direction(5, [1], width=16), "expected directions of one model, got calm of width 32 .* and odd of width 16"),
        (direction(5, [1], depth=6), "expected directions of one model, .* and odd of width 32 and 6 layers"),
        (direction(5, [1]), "expected directions fitted on the same weights, got calm .* and odd of tiny, revision 0"),
    ],
)
def test_directions_of_another_model_are_refused(steersman, given, tmp_path, made, match):
    save_direction(made, tmp_path / "odd.safetensors")
    target = tmp_path / "made.safetensors"
    for how in ("sum", "simultaneous"):
        done = steersman(
            *given, "--direction", tmp_path / "odd.safetensors", "--how", how, "--layer", "1", "--save-plan", target
        )
        refused(done, match)
    assert not target.exists()


def test_parallel_directions_are_refused_where_they_are_to_be_orthogonal(steersman, given, held, tmp_path):
    save_direction(held["calm"].at(1), tmp_path / "twin.safetensors")
    command = [*given, "--direction", tmp_path / "twin.safetensors", "--layer", "1"]
    for how in ("gram-schmidt", "symmetric"):
        refused(steersman(*command, "--how", how), "got calm and twin, which are not, cosine .* leave one of them out")
    assert steersman(*command, "--how", "sum").code == 0


def test_one_direction_is_nothing_to_put_together(steersman, folder, held):
    refused(
        steersman("compose", "--direction", folder / "calm.safetensors"), "expected --direction at least twice, .*got 1"
    )


def test_what_is_there_is_not_overwritten(steersman, given, tmp_path):
    there, other = tmp_path / "there.safetensors", tmp_path / "other.safetensors"
    there.write_bytes(b"mine")
    command = [*given, "--layer", "1", "--scale", "0.1"]
    refused(steersman(*command, "--out", other, "--save-plan", there), "exists already; give another name, or --force")
    assert (there.read_bytes(), other.exists()) == (b"mine", False)
    refused(steersman(*command, "--out", other, "--save-plan", other), "expected different files for --out and")
    (tmp_path / "inner").mkdir()
    twice = ["--out", tmp_path / "inner" / ".." / "other.safetensors", "--save-plan", other, "--force"]
    refused(steersman(*command, *twice), "expected different files for --out and")
    assert not other.exists()
    assert steersman(*command, "--out", other, "--save-plan", there, "--force").code == 0
    plan = load_plan(there)
    (step,) = plan.steps
    push = float((step.vector * step.coefficient).norm())
    assert push == pytest.approx(float(load_direction(other).vectors[Site(1)].norm()) * 0.1, rel=1e-5)
    assert plan == Plan(load_direction(other), coefficient=step.coefficient)
