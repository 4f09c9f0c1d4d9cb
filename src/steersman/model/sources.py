"""Where a model comes from: the words a user types, resolved to a checked source; and what is already on this machine.

Nothing is loaded here, and nothing is downloaded but the default model.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub.errors import CacheNotFound, HFValidationError
from huggingface_hub.utils import validate_repo_id

from steersman.errors import ModelError
from steersman.model.builtin import DEFAULT, Notify, default_folder, default_model, read_marker

Kind = Literal["default", "hub", "folder", "gguf"]

_EXPECTED = (
    'A model is "default", a Hugging Face id such as "owner/name" or "owner/name@revision", '
    "a folder with config.json, or a .gguf file"
)
# What makes a checkpoint what it is; a README or a training log beside it does not.
_SUFFIXES = {".bin", ".gguf", ".jinja", ".json", ".model", ".py", ".safetensors", ".txt"}


@dataclass(frozen=True)
class Source:
    """A model to load: its kind, its place, and the hash that says which one it is.

    Args:
        kind: "default", "hub", "folder" or "gguf".
        path: the folder to load from (for "gguf" the folder the file lies in); None for "hub".
        gguf_file: the file's name inside `path` for "gguf", else None; the two are what transformers asks for.
        id: the name to record: the default model's name, the hub id without its revision, the folder's or file's name.
        revision: SHA-256 of the content in hexadecimal; for "hub" the commit hash, or "" where it is not known here.
        asked: for "hub" the revision the user asked for (branch, tag or commit), else None.
    """

    kind: Kind
    path: Path | None
    gguf_file: str | None
    id: str
    revision: str
    asked: str | None = None


@dataclass(frozen=True)
class Available:
    """A model this machine has or can fetch.

    Args:
        name: what to give to `resolve`.
        kind: "default" or "hub".
        size_bytes: bytes on disk; 0 before it is fetched.
        path: its folder; None before it is fetched.
        state: "ready", "incomplete" (no safetensors weights or no config yet), "damaged" (it will be made anew), or
            "not fetched" with the size of the download.
    """

    name: str
    kind: Kind
    size_bytes: int
    path: Path | None
    state: str


def resolve(name: str | os.PathLike[str], notify: Notify | None = None) -> Source:
    """The source that `name` means; the default model is fetched if it is not here yet, a hub model is not.

    Args:
        name: "default" (or "smollm2-135m-instruct"), a folder holding `config.json`, a path ending in `.gguf`, or a
            Hugging Face id "owner/name", "owner/name@revision". The default's names win over a folder so called
            (write "./default" for that), and an existing folder wins over a hub id, as in transformers.
        notify: called with a few words at each stage of fetching the default model.

    Returns:
        The source, with the hash of its content. Hashing reads a local checkpoint once, about a second for 1 GB.

    Raises:
        ModelError: if `name` is none of these, or the default model cannot be fetched.
    """
    text = os.fspath(name).strip()
    if text in ("default", DEFAULT.name):
        return Source("default", default_model(notify), None, DEFAULT.name, DEFAULT.sha256)
    if not text:
        raise ModelError(f"{_EXPECTED}, but the name is empty; name one of these.")
    path = Path(text).expanduser()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        return _gguf(path)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        raise ModelError(f"{_EXPECTED}, but {text!r} is a file of another kind; name the folder it belongs to.")
    return _hub(text)


def cached_commit(repository: str, asked: str | None) -> str:
    """The commit hash that a revision of a hub model means in the local cache, as far as it was last looked up.

    Args:
        repository: the hub id, "owner/name".
        asked: branch, tag or commit; None is the main branch.

    Returns:
        40 hexadecimal digits, or "" where the cache does not know.
    """
    found = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=asked)
    # The cache keeps a file at <repository>/snapshots/<commit hash>/<file>.
    return Path(found).parent.name if isinstance(found, str) else ""


def available() -> list[Available]:
    """The models `steersman models` lists: the default first, then the Hugging Face cache by name.

    Returns:
        At least the default, fetched or not; a missing or unreadable Hugging Face cache adds nothing.
    """
    return [_default_state(), *sorted(_hub_cache(), key=lambda model: model.name.lower())]


def _gguf(path: Path) -> Source:
    if not path.is_file():
        raise ModelError(f"{_EXPECTED}, but there is no file {path}; check the path.")
    path = path.resolve()
    return Source("gguf", path.parent, path.name, path.name, _content_hash([path]))


def _folder(path: Path) -> Source:
    path = path.resolve()
    if not (path / "config.json").is_file():
        inside = sorted(file.name for file in path.glob("*.gguf"))
        advice = f"name the file {path / inside[0]}" if inside else "name the folder of a saved checkpoint"
        raise ModelError(f"{_EXPECTED}, but the folder {path} holds no config.json; {advice}.")
    files = [file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file()]
    return Source("folder", path, None, path.name, _content_hash(files))


def _hub(text: str) -> Source:
    repository, at, asked = text.partition("@")
    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", repository) or repository.startswith((".", "~")) or (at and not asked):
        hint = f'write its owner too ("owner/{text}")' if re.fullmatch(r"[\w.-]+", text) else "check the spelling"
        raise ModelError(f"{_EXPECTED}, but {text!r} came, which is none of these on this machine; {hint}.")
    return Source("hub", None, None, repository, cached_commit(repository, asked or None), asked or None)


def _content_hash(files: list[Path]) -> str:
    """SHA-256 over the files' names, sizes and contents, in the order of their names."""
    total = hashlib.sha256()
    try:
        for path in sorted(files, key=lambda file: file.name):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.name}\0{path.stat().st_size}\0{content}\n".encode())
    except OSError as error:
        raise ModelError(
            f"The model's files should be readable, but {error.filename} is not ({error.strerror}); check its rights."
        ) from error
    return total.hexdigest()


def _default_state() -> Available:
    folder = default_folder()
    if not folder.is_dir():
        return Available("default", "default", 0, None, f"not fetched ({DEFAULT.wheel_megabytes} MB to download)")
    state = "ready" if read_marker(folder) else "damaged"
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return Available("default", "default", size, folder, state)


def _hub_cache() -> list[Available]:
    try:
        repositories = huggingface_hub.scan_cache_dir().repos
    except (CacheNotFound, ValueError, OSError):  # never used, a file in its place, not readable
        return []
    return [
        Available(
            repository.repo_id,
            "hub",
            repository.size_on_disk,
            repository.repo_path,
            "ready" if any(_complete(revision.files) for revision in repository.revisions) else "incomplete",
        )
        for repository in repositories
        if repository.repo_type == "model"
    ]


def _complete(files: "frozenset[huggingface_hub.CachedFileInfo]") -> bool:
    names = {file.file_name for file in files}
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)
