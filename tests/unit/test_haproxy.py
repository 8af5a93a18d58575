"""What HAProxy is started with."""

from pathlib import Path

from deployments.runtime.haproxy import mended, problem

WRITTEN = """global
    stats socket /run/a mode 666 level admin expose-fd listeners
defaults
    errorfile 503 /run/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
"""


def test_every_listener_is_on_loopback() -> None:
    """What Ray binds to every interface is bound to loopback, and what is bound already stays."""
    lines = mended(WRITTEN, Path("/run/e.http")).splitlines()
    assert [line.split()[1] for line in lines if "bind" in line] == [
        "127.0.0.1:9101",
        "127.0.0.1:8000",
        "127.0.0.1:8404",
    ]


def test_its_commands_are_for_one_user() -> None:
    """The socket that commands HAProxy is closed to others."""
    assert "stats socket /run/a mode 600 level admin" in mended(WRITTEN, Path("/run/e.http"))


def test_its_own_errors_are_problems() -> None:
    """HAProxy's own errors are those of the contract, with a request id."""
    text = mended(WRITTEN, Path("/run/e.http"))
    assert "errorfile 503 /run/e.http" in text
    assert "set-header x-request-id" in text
    head, _, body = problem().partition("\r\n\r\n")
    assert "application/problem+json" in head
    assert f"content-length: {len(body)}" in head


def test_the_peer_says_who_calls() -> None:
    """What a caller claims its address to be is replaced before any rule of the frontend."""
    lines = mended(WRITTEN, Path("/run/e.http")).splitlines()
    assert lines[lines.index("frontend http_frontend") + 1].strip() == "http-request set-header x-forwarded-for %[src]"
