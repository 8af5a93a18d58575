"""What HAProxy is started with."""

import json
from pathlib import Path
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import _TrustedHosts

from configs.rates import Rates
from configs.settings import Settings
from deployments.runtime.haproxy import DEVICES, ERRORS, LOG_INS, LOG_INS_MAX, mended, problem
from serve_app.local import cluster

WRITTEN = """global
    stats socket /run/a mode 666 level admin expose-fd listeners
defaults
    timeout client 3600s
    errorfile 503 /run/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
  stats enable
"""
LINES = [line.strip() for line in mended(WRITTEN, Path("/run")).splitlines()]


def test_every_listener_is_on_loopback() -> None:
    """What Ray binds to every interface is bound to loopback, and what is bound already stays."""
    assert [line.split()[1] for line in LINES if line.startswith("bind")] == [
        "127.0.0.1:9101",
        "127.0.0.1:8000",
        "127.0.0.1:8404",
    ]


def test_its_commands_are_for_one_user() -> None:
    """The socket that commands HAProxy is closed to others."""
    assert "stats socket /run/a mode 600 level admin expose-fd listeners" in LINES


def test_its_pages_ask_for_the_token() -> None:
    """Of metrics before anything else is asked, of statistics by a password; no file holds it."""
    assert LINES[LINES.index("frontend prometheus") + 1].endswith('-m str "Bearer ${RAY_AUTH_TOKEN}" }')
    assert LINES[LINES.index("stats enable") + 1] == 'stats auth "hdx:${RAY_AUTH_TOKEN}"'


@pytest.mark.parametrize("name", ["x-request- -m beg", "x-serve- -m beg", "x-session-id", "serve_ -m beg"])
def test_callers_do_not_command_ray(name: str) -> None:
    """Headers that Ray obeys are dropped at the front."""
    place = LINES.index("frontend http_frontend")
    assert f"http-request del-header {name}" in LINES[place : LINES.index("listen stats")]


def test_who_sends_slowly_is_cut_off() -> None:
    """Within seconds, whatever Ray has written."""
    times = [line for line in LINES if line.startswith("timeout")]
    assert times == ["timeout http-request 10s", "timeout client 30s", "timeout tarpit 2s"]
    assert LINES[LINES.index("defaults") + 1] == "option http-buffer-request"


@pytest.mark.parametrize("status", ERRORS)
def test_its_own_errors_are_problems(status: int) -> None:
    """HAProxy's own errors are those of the contract, with a request id; of what is unavailable there is one."""
    assert [line for line in LINES if f"errorfile {status} " in line] == [f"errorfile {status} /run/{status}.http"]
    assert any("set-header x-request-id" in line for line in LINES)
    head, _, body = problem(status).partition("\r\n\r\n")
    assert "application/problem+json" in head
    assert f"content-length: {len(body)}" in head
    shown = json.loads(body)["status"]
    assert shown == (503 if status >= 500 else status)
    assert head.startswith(f"HTTP/1.1 {shown} ")


def test_the_peer_says_who_calls() -> None:
    """What a caller claims its address to be is replaced before any rule of the frontend."""
    assert LINES[LINES.index("frontend http_frontend") + 1] == "http-request set-header x-forwarded-for %[src]"


def test_log_ins_of_an_address_are_counted_at_the_front() -> None:
    """As many as the settings say, more with a device's cookie, and none are where the settings say so."""
    counted = [line for line in LINES if "tarpit deny_status 429" in line]
    assert [int(line.partition("gt ")[2].split()[0]) for line in counted] == [LOG_INS_MAX, DEVICES * LOG_INS_MAX]
    assert Settings().rates.login.address == LOG_INS_MAX
    assert "deny_status 429" not in mended(WRITTEN, Path("/run"), 0)


@pytest.mark.parametrize(
    ("rates", "most"), [({}, str(LOG_INS_MAX)), ({"on": False}, "0"), ({"login": {"address": 7}}, "7")]
)
def test_the_settings_reach_the_front(rates: dict[str, Any], most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HAProxy counts up to is in the environment that Ray starts it with."""
    monkeypatch.setattr(cluster, "find_spec", lambda _: True)
    monkeypatch.setattr("sys.platform", "linux")
    settings = Settings(rates=Rates(**rates))
    assert cluster.haproxy_environment(settings, Path("/run/a"))[LOG_INS] == most


def test_without_haproxy_nobody_names_another_address() -> None:
    """Ray's own proxy would believe what any caller on this machine claims: it is told to believe none."""
    told = cluster.haproxy_environment(Settings(haproxy=False), Path("/run/a"))
    assert "127.0.0.1" not in _TrustedHosts(told["FORWARDED_ALLOW_IPS"])
    assert "127.0.0.1" in _TrustedHosts("127.0.0.1")
