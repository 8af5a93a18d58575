"""Rules of what replicas read from a registry, on a server that answers what no registry should."""

import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from pipelines.errors import Unavailable
from pipelines.promotion import mlflow_client
from pipelines.promotion.mlflow_client import Registry, Release
from tests.service.tracking import registry_at

ANSWERS = {
    "listing": b'{"files": [{"path": "card.json", "is_dir": false}]}',
    "array": b"[]",
    "deep": b"[" * 100_000,
    "large": b" " * 200_000,
}


class Strange(BaseHTTPRequestHandler):
    """Answers by what the model is called."""

    def do_GET(self) -> None:
        self.send_response(503 if "/artifacts/" in self.path else 200)
        self.end_headers()
        with suppress(OSError):  # nobody listens to the end
            self.wfile.write(next((body for word, body in ANSWERS.items() if word in self.path), b""))
            for _ in range(100 if "slow" in self.path else 0):
                self.wfile.write(b" ")
                time.sleep(0.05)


@pytest.fixture(scope="module")
def strange() -> Iterator[Registry]:
    """A server on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Strange)
    Thread(target=server.serve_forever, daemon=True).start()
    yield registry_at(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["array", "deep", "large", "slow"])
def test_any_answer_is_one_of_our_errors(strange: Registry, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """JSON of another shape, an answer that is too large or never ends: the registry is away, and soon."""
    monkeypatch.setattr(mlflow_client, "ANSWER_S", 0.5)
    monkeypatch.setattr(mlflow_client, "ANSWER_BYTES", 150_000)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        strange.state(name)
    assert time.monotonic() - begun < 2


def test_a_failure_of_the_moment_rejects_no_version(strange: Registry) -> None:
    """Where a file cannot be fetched just now the registry is away; the version is not called wrong."""
    with pytest.raises(Unavailable, match="answers with status 503"):
        strange.fetch(Release("hdx-generic-catboost", "1", "", "listing"))
