"""What contract tests share: the application over stand-ins, and ways to call it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serve_app.api.app import create_app
from tests.contract.stand_ins import PASSWORD, Bench, make_bench

Headers = dict[str, str]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The services behind the application, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("HDX_")]:
        monkeypatch.delenv(name)
    return make_bench(tmp_path)


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    """A client of the application, with one event loop for all its calls."""
    with TestClient(create_app(bench.services), follow_redirects=False) as client:
        yield client


@pytest.fixture
def headers(client: TestClient) -> Callable[[str], Headers]:
    """Log in as an account and return the header that carries its token."""

    def log_in(username: str = "operator") -> Headers:
        reply = client.post("/api/auth/login/", json={"username": username, "password": PASSWORD})
        return {"authorization": f"Bearer {reply.json()['access']}"}

    return log_in
