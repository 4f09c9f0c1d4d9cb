"""Directions on the hub, against a small one on this machine: up, down, and a clear word for what is not there."""

from pathlib import Path

import pytest
import torch
import yaml
from local_hub import TOKEN, LocalHub, local_hub, use

from steersman.errors import FileError, InputError
from steersman.exchange.card import Guidance, card
from steersman.exchange.hub import find_direction, is_address, load_direction_from_hub, push
from steersman.files import load_direction, save_direction
from steersman.where import Site
from tiny import direction


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with local_hub() as running:
        use(monkeypatch, running.url, tmp_path / "cache")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def same(one, other):
    assert one.sites == other.sites
    assert all(torch.equal(one.vectors[site], other.vectors[site]) for site in one.sites)
    assert (one.norms, one.origin, one.method) == (other.norms, other.origin, other.method)


def test_what_goes_up_comes_down(hub: LocalHub):
    sent = direction(1, [1, 2])
    pushed = push(sent, "somebody/refusal")
    assert pushed.repository == "somebody/refusal"
    assert sorted(hub.files["somebody/refusal"]["main"]) == ["README.md", "direction.safetensors"]
    assert hub.private["somebody/refusal"] is True
    same(load_direction_from_hub("somebody/refusal"), sent)
    same(load_direction_from_hub(f"somebody/refusal@{pushed.revision}"), sent)
    assert pushed.url.endswith(f"/commit/{pushed.revision}")


def test_a_revision_names_what_was_there_then(hub: LocalHub):
    first = push(direction(1, [1]), "somebody/d", private=False)
    push(direction(2, [1]), "somebody/d", force=True)
    same(load_direction_from_hub(f"somebody/d@{first.revision}"), direction(1, [1]))
    same(load_direction_from_hub("somebody/d"), direction(2, [1]))


def test_nothing_is_replaced_without_the_word(hub: LocalHub):
    push(direction(1, [1]), "somebody/d")
    with pytest.raises(FileError, match=r"holds direction\.safetensors already"):
        push(direction(2, [1]), "somebody/d")
    same(load_direction_from_hub("somebody/d"), direction(1, [1]))
    push(direction(2, [1]), "somebody/d", filename="sub/other.safetensors")
    same(load_direction_from_hub("somebody/d", "sub/other.safetensors"), direction(2, [1]))


def test_the_token_comes_from_the_environment_and_goes_nowhere(hub: LocalHub, monkeypatch, tmp_path):
    push(direction(1, [1]), "somebody/d")
    held = b"".join(content for files in hub.files["somebody/d"].values() for content in files.values())
    assert TOKEN.encode() not in held
    load_direction_from_hub("somebody/d")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert written == []
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="in the environment variable HF_TOKEN, got none"):
        push(direction(1, [1]), "somebody/other")
    assert "somebody/other" not in hub.files


def test_a_token_that_is_refused_is_not_told(hub: LocalHub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FileError, match="the hub refused the upload") as caught:
        push(direction(1, [1]), "somebody/d")
    assert "hf_wrong" not in str(caught.value)


def test_a_private_direction_needs_the_token(hub: LocalHub, monkeypatch):
    push(direction(1, [1]), "somebody/d")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(FileError, match="for a private one set HF_TOKEN"):
        load_direction_from_hub("somebody/d")


def test_what_is_not_there_is_named(hub: LocalHub):
    push(direction(1, [1]), "somebody/d")
    with pytest.raises(FileError, match="no such model repository"):
        load_direction_from_hub("somebody/none")
    with pytest.raises(FileError, match=r"holds no other\.safetensors"):
        load_direction_from_hub("somebody/d", "other.safetensors")
    with pytest.raises(FileError, match="knows no revision 'v9'"):
        load_direction_from_hub("somebody/d@v9")


def test_a_file_that_is_no_direction_is_refused(hub: LocalHub):
    push(direction(1, [1]), "somebody/d")
    hub.files["somebody/d"]["main"]["direction.safetensors"] = b"nonsense"
    with pytest.raises(FileError, match="expected"):
        load_direction_from_hub("somebody/d")


def test_a_hub_out_of_reach_is_said_so_and_the_cache_still_serves(hub: LocalHub, monkeypatch, tmp_path):
    sent = direction(1, [1])
    push(sent, "somebody/d")
    load_direction_from_hub("somebody/d")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library waits between its tries
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    same(load_direction_from_hub("somebody/d"), sent)
    with pytest.raises(FileError, match="cannot be reached"):
        load_direction_from_hub("somebody/other")
    with pytest.raises(FileError, match="cannot be reached"):
        push(sent, "somebody/d")


@pytest.mark.parametrize("text", ["refusal", "a/b/c", "../x", "a/b@", "https://hub.example/a/b", "", "a/..", "-a/b"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match=r"owner/name\[@revision\]"):
        load_direction_from_hub(text)


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "x.bin", "a//x.safetensors"])
def test_a_file_name_stays_in_the_repository(name):
    with pytest.raises(InputError, match=r"ending in \.safetensors"):
        load_direction_from_hub("a/b", name)


def test_a_file_comes_before_a_repository(hub: LocalHub, tmp_path, monkeypatch):
    push(direction(1, [1]), "somebody/d")
    same(find_direction("somebody/d"), direction(1, [1]))
    monkeypatch.chdir(tmp_path)
    Path("somebody").mkdir()
    save_direction(direction(2, [1]), tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").rename(Path("somebody") / "d")
    same(find_direction("somebody/d"), load_direction(Path("somebody") / "d"))
    assert is_address("somebody/d@v1")
    assert not is_address("runs/d.safetensors")
    with pytest.raises(FileError, match="does not exist"):
        find_direction("runs/d.safetensors")


# The card


def front(text):
    return yaml.safe_load(text.split("---")[1])


def test_the_card_says_what_was_fitted_and_how_to_use_it():
    held = direction(1, [1, 2])
    found = type(held)(
        held.vectors, held.norms, held.origin, held.method, {"separation": {Site(1): 0.75, Site(2): 0.9}}
    )
    text = card(found, "somebody/refusal", "direction.safetensors", licence="mit", base_model="org/model")
    assert front(text) == {
        "tags": ["steering-vector", "steersman"],
        "library_name": "steersman",
        "license": "mit",
        "base_model": "org/model",
    }
    assert "| site | vector length | residual norm | separation |" in text
    assert "| resid\\_post.1 |" in text
    assert "| 0.750 |" in text
    assert "made up, seed 1" in text
    assert 'load_direction_from_hub("somebody/refusal")' in text
    assert "No coefficient was measured" in text


def test_the_cards_code_is_python_and_names_the_setting_found_good():
    good = Guidance(2, -0.25, "raw", "Best of nine on validation data.")
    text = card(direction(1, [1, 2]), "a/b", "sub/x.safetensors", guidance=good)
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'sm.Plan(direction.at(2), coefficient=-0.25, unit="raw")' in code
    assert '"sub/x.safetensors"' in code
    assert "Best of nine" in text
    assert "base_model" not in front(text)


def test_strange_words_stay_words():
    held = direction(1, [1])
    strange = type(held)(held.vectors, held.norms, held.origin, "x | y\n---\n<script>", held.diagnostics)
    text = card(strange, "a/b", "direction.safetensors", licence='"\n- evil: [')
    assert front(text)["license"] == '"\n- evil: ['
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert text.count("\n---\n") == 1
