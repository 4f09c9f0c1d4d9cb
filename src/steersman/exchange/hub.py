"""Directions on the Hugging Face hub: the artifact as it is, beside a card that says what it is and how to use it."""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.exchange.card import Guidance, card
from steersman.files import load_direction, save_direction

FILENAME = "direction.safetensors"
_ADDRESS = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Pushed:
    """What was uploaded.

    Args:
        repository: `owner/name`.
        revision: the commit's hash; `owner/name@revision` names exactly this.
        url: of the commit.
        files: paths in the repository.
    """

    repository: str
    revision: str
    url: str
    files: tuple[str, ...]


def push(
    direction: Direction,
    repository: str,
    *,
    private: bool = True,
    filename: str = FILENAME,
    licence: str = "other",
    base_model: str | None = None,
    guidance: Guidance | None = None,
    force: bool = False,
) -> Pushed:
    """Upload a direction and its card in one commit; the repository is made where it is missing.

    The token is read from the environment (`HF_TOKEN`) and kept nowhere.

    Args:
        direction: what to share; all its sites.
        repository: `owner/name` of a model repository.
        private: for a repository that is made now; one that exists keeps its visibility.
        filename: of the artifact there, ending in `.safetensors`.
        licence: for the card, by the hub's identifier.
        base_model: hub id of the model it was fitted on; the direction's own where that is one.
        guidance: a coefficient that was found good, for the card.
        force: replace an artifact of that name.

    Raises:
        InputError: for an address that is none, or no token.
        FileError: when the file is there and `force` is not given, or the hub refuses.
    """
    name, revision = address(repository)
    if revision:
        raise InputError(f"expected owner/name to push to, got {repository!r} with a revision")
    _check_filename(filename)
    token = _token()
    if not token:
        raise InputError("expected a token with the right to write in the environment variable HF_TOKEN, got none")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        artifact = save_direction(direction, Path(folder) / "direction.safetensors")
        try:
            api.create_repo(name, private=private, exist_ok=True)
            if not force and api.file_exists(name, filename):
                raise FileError(f"{name} holds {filename} already; give another file name, or --force to replace it")
            text = card(direction, name, filename, licence=licence, base_model=base_model, guidance=guidance)
            files = {filename: artifact.read_bytes(), "README.md": text.encode()}
            commit = api.create_commit(
                name,
                [CommitOperationAdd(path, content) for path, content in files.items()],
                commit_message=f"Add {filename}",
            )
        except FileError:
            raise
        except HfHubHTTPError as error:
            raise FileError(f"{name}: the hub refused the upload ({_reason(error)}); check the token") from None
        # What the library's client raises without a connection differs from version to version.
        except Exception as error:
            raise FileError(f"{name}: the hub cannot be reached or took nothing ({_reason(error)})") from None
    return Pushed(name, commit.oid, commit.commit_url, tuple(files))


def load_direction_from_hub(repository: str, filename: str = FILENAME) -> Direction:
    """Return the direction in a hub repository, checked as every file is; fetched once, then read from the cache.

    Args:
        repository: `owner/name`, or `owner/name@revision` for a branch, a tag or a commit.
        filename: of the artifact there.

    Raises:
        InputError: for an address that is none.
        FileError: for what is not there, cannot be reached, or is no direction.
    """
    name, revision = address(repository)
    _check_filename(filename)
    api = HfApi(token=_token() or False)
    try:
        path = api.hf_hub_download(name, filename, revision=revision)
    except LocalEntryNotFoundError as error:
        raise FileError(f"{repository}: not in the cache, and the hub cannot be reached ({_reason(error)})") from None
    except RevisionNotFoundError:
        raise FileError(f"{repository}: the hub knows no revision {revision!r} of {name}") from None
    except RepositoryNotFoundError:
        raise FileError(
            f"{repository}: the hub shows no such model repository; for a private one set HF_TOKEN in the environment"
        ) from None
    except EntryNotFoundError:
        raise FileError(f"{repository}: the repository holds no {filename}; name its file") from None
    except Exception as error:  # no connection, a full disk: of other kinds from version to version of the library
        raise FileError(f"{repository}: the hub gave no file ({_reason(error)})") from None
    return load_direction(path)


def find_direction(place: str | Path) -> Direction:
    """Return the direction in a file, or, where no such file exists, in the hub repository `owner/name[@revision]`.

    Raises:
        FileError: when neither is there, or holds no direction.
    """
    here = Path(place).expanduser()
    if here.exists() or not is_address(str(place)):
        return load_direction(here)
    return load_direction_from_hub(str(place))


def is_address(text: str) -> bool:
    """Return whether a text reads as `owner/name[@revision]`, and not as a file's name."""
    return _ADDRESS.fullmatch(text) is not None and not text.endswith((".safetensors", ".gguf"))


def address(text: str) -> tuple[str, str | None]:
    """Return the repository and the revision that a text names.

    Raises:
        InputError: when it names none.
    """
    match = _ADDRESS.fullmatch(text)
    try:
        if match is None:
            raise HFValidationError
        huggingface_hub.utils.validate_repo_id(match["id"])
    except HFValidationError:
        raise InputError(f"expected a hub repository as owner/name[@revision], got {text[:80]!r}") from None
    return match["id"], match["revision"]


def _check_filename(filename: str) -> None:
    parts = filename.split("/")
    if not filename.endswith(".safetensors") or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"expected a file name ending in .safetensors, got {filename[:80]!r}")


def _token() -> str:
    # Only from here: what other tools keep on disk is not ours to send.
    return os.environ.get("HF_TOKEN", "").strip()


def _reason(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)
    status = f"HTTP {response.status_code}" if response is not None else ""
    said = str(getattr(error, "server_message", None) or error).strip().splitlines()
    words = said[0] if said else type(error).__name__
    token = _token()
    return ": ".join(filter(None, (status, words.replace(token, "***") if token else words)))
