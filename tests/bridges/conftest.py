"""Tiny models in a folder, as both the harness and steersman load them; a direction beside them; all offline."""

import os
from pathlib import Path

# Both libraries read these when they are imported.
os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")

import pytest
from local_tasks import write_tasks

from steersman.files import save_direction
from steersman.model.load import load
from steersman.model.loaded import Model
from tiny import direction, tiny_network, tokenizer


def save(folder: Path, *, chat: bool) -> Path:
    """Write a tiny model and its tokenizer into a folder."""
    tiny_network("llama").save_pretrained(folder)
    tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("plain"), chat=False)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("chat"), chat=True)


@pytest.fixture(scope="session")
def plain(plain_folder: Path) -> Model:
    return load(str(plain_folder), dtype="float32")


@pytest.fixture(scope="session")
def chatty(chat_folder: Path) -> Model:
    return load(str(chat_folder), dtype="float32")


@pytest.fixture(scope="session")
def direction_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("direction") / "made-up.safetensors"
    save_direction(direction(1, [1, 2]), path)
    return path


@pytest.fixture(scope="session")
def local_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))
