"""`steersman export` and `steersman import`, as typed."""

import json
import shlex

import pytest
from local_hub import TOKEN, local_hub, use

from steersman.cli import app
from steersman.files import load_direction, save_direction, save_plan
from steersman.model.load import load
from steersman.where import Site
from tiny import direction, plan, tiny_network, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer(chat=True).save_pretrained(folder / "model")
    save_direction(direction(1, [0, 1, 3]), folder / "d.safetensors")
    save_plan(plan(1, [1, 3], coefficient=0.5), folder / "p.safetensors")
    return folder


@pytest.fixture
def steersman(capsys):
    def call(*arguments):
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        done = capsys.readouterr()
        return code, done.out, done.err

    return call


@pytest.mark.parametrize("command", ["export", "import"])
def test_the_example_of_the_help_is_one_that_parses(steersman, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = " ".join(steersman(command, "--help")[1].split()).partition("Example: steersman ")[2]
    assert example.startswith(command)
    code, _, err = steersman(*shlex.split(example))
    # Nothing it names is here: it must fail over that, not over an option.
    assert code == 2
    assert "which does not exist" in err


def test_out_as_gguf_and_in_again(steersman, folder, tmp_path):
    held = ["--direction", folder / "d.safetensors"]
    code, out, err = steersman(
        "export", *held, "--layer", "1,3", "--coefficient", "0.25", "--format", "gguf", "--out", tmp_path / "v.gguf"
    )
    assert (code, out) == (0, "")
    assert "blocks (length of the vector): 1 (1.75), 3 (2.25); coefficient 0.25 norm, multiplied in" in err
    code, out, _ = steersman("import", tmp_path / "v.gguf", "--out", tmp_path / "back.safetensors", "--json")
    assert code == 0
    assert [row["site"] for row in json.loads(out)["sites"]] == ["resid_post.1", "resid_post.3"]
    back = load_direction(tmp_path / "back.safetensors")
    assert float(back.vectors[Site(1)].norm()) == pytest.approx(1.75, rel=1e-5)
    assert back.norms[Site(3)] == 9.0
    again = ["import", tmp_path / "v.gguf", "--out", tmp_path / "back.safetensors"]
    assert "exists already" in steersman(*again)[2]
    assert steersman(*again, "--force", "--model", folder / "model")[0] == 0


def test_a_plan_goes_out_with_its_own_coefficients(steersman, folder, tmp_path):
    arguments = ["export", "--plan", folder / "p.safetensors", "--format", "gguf", "--out", tmp_path / "v.gguf"]
    code, out, _ = steersman(*arguments, "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["layers"], made["coefficient"], made["unit"]) == ([1, 3], 0.5, "raw")
    assert "which has its own" in steersman(*arguments, "--coefficient", "1", "--force")[2]


def test_out_as_a_folder_that_loads(steersman, folder, tmp_path):
    code, out, _ = steersman(
        *("export", "--direction", folder / "d.safetensors", "--layer", "1", "--coefficient", "0.3"),
        *("--format", "folder", "--out", tmp_path / "baked", "--model", folder / "model", "--device", "cpu", "--json"),
    )
    assert code == 0
    made = json.loads(out)
    assert made["difference"] <= 1e-4 < made["effect"]
    assert load(str(tmp_path / "baked"), dtype="float32").hf.config.mlp_bias is True


def test_an_ablation_everywhere_goes_out_as_a_folder(steersman, folder, tmp_path):
    code, out, err = steersman(
        *("export", "--direction", folder / "d.safetensors", "--layer", "1", "--edit", "ablate", "--everywhere"),
        *("--format", "folder", "--out", tmp_path / "baked", "--model", folder / "model", "--device", "cpu"),
    )
    assert (code, out) == (0, "")
    assert "weights changed; logits within" in err
    along = load_direction(folder / "d.safetensors").units(Site(1))
    table = load(str(tmp_path / "baked"), dtype="float32").hf.get_input_embeddings().weight
    assert float((table.detach() @ along).abs().max()) < 1e-5


def test_up_to_the_hub_and_down_again(steersman, folder, tmp_path, monkeypatch):
    with local_hub() as hub:
        use(monkeypatch, hub.url, tmp_path / "cache")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        code, _, err = steersman(
            *("export", "--direction", folder / "d.safetensors", "--push", "somebody/d", "--license", "mit"),
            *("--coefficient", "0.3", "--layer", "1"),
        )
        assert code == 0
        assert "pushed somebody/d@" in err
        assert TOKEN not in err
        text = hub.files["somebody/d"]["main"]["README.md"].decode()
        assert 'license: "mit"' in text
        assert "direction.at(1), coefficient=0.3" in text
        assert steersman("import", "somebody/d", "--out", tmp_path / "d.safetensors")[0] == 0
    assert load_direction(tmp_path / "d.safetensors").sites == [Site(0), Site(1), Site(3)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected --direction or --plan, one of both"),
        (["--direction", "{d}"], "--format gguf, --format folder or --push owner/name, one of them"),
        (["--direction", "{d}", "--format", "gguf"], "expected --out"),
        (["--direction", "{d}", "--format", "onnx", "--out", "x"], "--format to be one of gguf, folder, got 'onnx'"),
        (["--direction", "{d}", "--format", "gguf", "--out", "{t}/x.gguf", "--layer", "1"], "expected a coefficient"),
        (
            ["--direction", "{d}", "--format", "gguf", "--out", "{t}/x.gguf", "--layer", "0", "--coefficient", "1"],
            "got layer 0: llama.cpp refuses",
        ),
        (["--direction", "{d}", "--format", "gguf", "--out", "x", "--edit", "ablate"], "can hold nothing else"),
        (["--direction", "{d}", "--format", "folder", "--out", "{t}"], "exists already"),
        (["--plan", "{p}", "--push", "a/b"], "expected --direction to push"),
        (["--direction", "{d}", "--push", "nonsense"], "a hub repository as owner/name"),
    ],
)
def test_bad_input_is_one_sentence(steersman, folder, tmp_path, arguments, words):
    (tmp_path / "taken").write_text("")
    names = {"d": folder / "d.safetensors", "p": folder / "p.safetensors", "t": tmp_path}
    code, out, err = steersman("export", *[argument.format(**names) for argument in arguments])
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_that_is_no_control_vector(steersman, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    code, _, err = steersman("import", tmp_path / "x.gguf", "--out", tmp_path / "d.safetensors")
    assert code == 2
    assert "x.gguf: expected a whole GGUF file" in err
    assert not (tmp_path / "d.safetensors").exists()
