"""One server for the tests that need nothing of their own."""

from collections.abc import Iterator

import pytest
from openai import OpenAI
from running import client_of, running

from steersman.model.loaded import Model
from steersman.serving import Server
from tiny import tiny_model


@pytest.fixture(scope="session")
def chatty() -> Model:
    """A tiny model with a chat template."""
    return tiny_model("llama", chat=True)


@pytest.fixture(scope="session")
def server(chatty: Model) -> Iterator[Server]:
    """A running server."""
    with running(chatty, max_tokens=128) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The official client."""
    with client_of(server) as client:
        yield client
