"""What a user types for a model, and what is already on the machine."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from steersman.errors import ModelError
from steersman.model import sources
from steersman.model.builtin import DEFAULT
from steersman.model.sources import Source, available, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A Hugging Face cache of its own, empty; every function of huggingface_hub is sent there."""
    cache = tmp_path / "hub"
    cache.mkdir()
    scan, look_up = huggingface_hub.scan_cache_dir, huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(cache))
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *names, **more: look_up(*names, cache_dir=cache, **more)
    )
    return cache


def cached(cache: Path, repository: str, files: dict[str, bytes], branch: str = "main", kind: str = "models") -> Path:
    folder = cache / f"{kind}--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / branch).write_text(COMMIT)
    snapshot.mkdir(parents=True)
    for name, content in files.items():
        blob = folder / "blobs" / f"blob-of-{name}"
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    return folder


# The default


@pytest.mark.parametrize("name", ["default", "smollm2-135m-instruct", " default "])
def test_the_defaults_names_fetch_it_and_know_its_hash(monkeypatch, tmp_path, name):
    heard = []
    monkeypatch.setattr(sources, "default_model", lambda notify: notify("fetching") or tmp_path)
    assert resolve(name, heard.append) == Source("default", tmp_path, None, "smollm2-135m-instruct", DEFAULT.sha256)
    assert heard == ["fetching"]


def test_a_folder_called_default_needs_a_path(monkeypatch, checkpoint):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename(checkpoint.parent / "default")
    assert resolve("./default").kind == "folder"


# Folders and files


def test_a_folder_with_a_config_is_a_checkpoint(checkpoint):
    source = resolve(str(checkpoint))
    assert (source.kind, source.path, source.gguf_file, source.id) == ("folder", checkpoint, None, "checkpoint")
    assert len(source.revision) == 64
    assert resolve(checkpoint) == source


def test_a_path_may_be_relative_to_here_or_to_home(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert resolve("checkpoint") == resolve("~/checkpoint") == resolve("checkpoint/") == resolve(str(checkpoint))


def change(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"wEights")


def rename(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")


def add(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")


def move_a_byte(folder: Path) -> None:
    (folder / "config.json").write_text("{}w", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"eights")


@pytest.mark.parametrize("edit", [change, rename, add, move_a_byte])
def test_the_hash_of_a_folder_changes_with_what_the_model_is_made_of(checkpoint, edit):
    before = resolve(checkpoint).revision
    edit(checkpoint)
    assert resolve(checkpoint).revision != before


def test_the_hash_of_a_folder_is_the_contents_alone(checkpoint, tmp_path):
    before = resolve(checkpoint).revision
    (checkpoint / "README.md").write_text("about it", encoding="utf-8")
    (checkpoint / "logs.json").mkdir()
    assert resolve(checkpoint).revision == before
    assert resolve(checkpoint.rename(tmp_path / "elsewhere")).revision == before


def test_a_gguf_file_is_named_as_transformers_asks_for_it(tmp_path):
    file = tmp_path / "Tiny.Q4_1.GGUF"
    file.write_bytes(b"GGUF")
    source = resolve(str(file))
    assert (source.kind, source.path, source.gguf_file, source.id) == ("gguf", tmp_path, file.name, file.name)
    file.write_bytes(b"GGUf")
    assert resolve(file).revision != source.revision


def test_a_gguf_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"A model is \"default\".*there is no file .*gone\.gguf; check the path"):
        resolve(str(tmp_path / "gone.gguf"))


def test_a_folder_without_a_config_is_refused_and_its_gguf_file_proposed(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json; name the folder of a saved checkpoint"):
        resolve(tmp_path)
    (tmp_path / "tiny.gguf").touch()
    with pytest.raises(ModelError, match=r"holds no config\.json; name the file .*tiny\.gguf"):
        resolve(tmp_path)


def test_a_file_of_another_kind_is_refused(checkpoint):
    with pytest.raises(ModelError, match=r"config\.json' is a file of another kind; name the folder"):
        resolve(str(checkpoint / "config.json"))


def test_a_file_that_cannot_be_read_is_named(checkpoint, monkeypatch):
    weights = checkpoint / "model.safetensors"

    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"should be readable, but .*checkpoint.* is not .Permission denied"):
        resolve(weights.parent)


# The hub


def test_a_hub_id_is_kept_and_nothing_is_fetched(hub):
    assert resolve("owner/some-model.v1") == Source("hub", None, None, "owner/some-model.v1", "", None)
    assert resolve("owner/name@refs/pr/3") == Source("hub", None, None, "owner/name", "", "refs/pr/3")
    assert list(hub.iterdir()) == []


def test_the_commit_of_a_cached_hub_model_is_known(hub):
    cached(hub, "owner/name", {"config.json": b"{}"})
    assert resolve("owner/name") == Source("hub", None, None, "owner/name", COMMIT, None)
    assert resolve("owner/name@main") == Source("hub", None, None, "owner/name", COMMIT, "main")
    assert resolve(f"owner/name@{COMMIT}") == Source("hub", None, None, "owner/name", COMMIT, COMMIT)
    assert resolve("owner/name@v2").revision == ""


def test_an_existing_folder_wins_over_a_hub_id(hub, checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent.parent)
    assert resolve(f"{checkpoint.parent.name}/checkpoint").kind == "folder"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("gpt2", r'write its owner too \("owner/gpt2"\)'),
        ("/no/such/folder", "check the spelling"),
        ("./nothing", "check the spelling"),
        ("~/nothing", "check the spelling"),
        ("a/b/c", "check the spelling"),
        ("owner/name@", "check the spelling"),
        ("owner/na me", "check the spelling"),
        ("owner/name--x", "check the spelling"),
        ("https://example.org/owner/name", "check the spelling"),
    ],
)
def test_what_is_no_model_is_told_what_would_be(hub, name, advice):
    with pytest.raises(
        ModelError, match=rf"A model is \"default\", a Hugging Face id .*config\.json.*{name}.*{advice}"
    ):
        resolve(name)


def test_an_empty_name_is_refused():
    with pytest.raises(ModelError, match="but the name is empty"):
        resolve("  ")


# What is here


@pytest.fixture
def unfetched(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path / "steersman"))
    return tmp_path / "steersman" / "models" / f"{DEFAULT.name}-{DEFAULT.sha256[:12]}"


def test_the_default_is_listed_before_it_is_fetched(unfetched, hub):
    [default] = available()
    assert (default.name, default.kind, default.size_bytes, default.path) == ("default", "default", 0, None)
    assert default.state == "not fetched (93 MB to download)"


def test_a_fetched_default_is_listed_with_its_size_and_a_damaged_one_as_such(unfetched, hub, monkeypatch):
    unfetched.mkdir(parents=True)
    (unfetched / "model.safetensors").write_bytes(b"weights")
    [default] = available()
    assert (default.size_bytes, default.path, default.state) == (7, unfetched, "damaged")
    monkeypatch.setattr(sources, "read_marker", lambda folder: {"sha256": DEFAULT.sha256})
    assert available()[0].state == "ready"


def test_the_hub_cache_is_listed_by_name(unfetched, hub):
    whole = cached(hub, "owner/Zebra", {"config.json": b"{}", "model.safetensors": b"weights"})
    cached(hub, "owner/ant", {"config.json": b"{}"})
    cached(hub, "owner/data", {"rows.json": b"{}"}, kind="datasets")
    listed = available()
    assert [model.name for model in listed] == ["default", "owner/ant", "owner/Zebra"]
    assert [model.state for model in listed[1:]] == ["incomplete", "ready"]
    assert (listed[2].kind, listed[2].size_bytes, listed[2].path) == ("hub", 9, whole)
    assert resolve(listed[2].name).revision == COMMIT


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_a_machine_that_never_used_the_hub_lists_the_default_alone(unfetched, hub, instead):
    hub.rmdir()
    if instead == "a file":
        hub.touch()
    assert [model.name for model in available()] == ["default"]
