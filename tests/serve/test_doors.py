"""What other users of the machine can do to a service that runs: nothing."""

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from serve_app.local.cluster import ray_folder
from serve_app.shared.registry_access import access_of
from tests.serve.service import HDX, Service

STRANGER = "nobody"
PYTHON = shutil.which("python3", path=os.defpath)
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or PYTHON is None, reason="only root can act as another user, by a Python that he may run"
)
# Of paths, those that may be read, written or entered; sockets are written to.
OPEN = (
    "import json, os, sys; print(json.dumps([p for p in json.load(sys.stdin) if any(os.access(p, m) for m in (4, 2))]))"
)


def board(service: Service) -> str:
    """Return the address of Ray's dashboard."""
    return f"http://127.0.0.1:{service.environment['HDX_DASHBOARD_PORT']}"


def as_stranger(code: str, given: object) -> object:
    """Run Python code as a user who has nothing, and return the JSON that it prints."""
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-c", code],
        input=json.dumps(given),
        text=True,
        capture_output=True,
        user=STRANGER,
        group=pwd.getpwnam(STRANGER).pw_gid,
        extra_groups=[],
        cwd="/",
        env={},
        check=True,
    )
    return json.loads(done.stdout)


def paths_below(folders: Sequence[Path]) -> list[str]:
    """Return all that lies below folders, with them."""
    return [str(each) for folder in folders for each in (folder, *folder.rglob("*")) if not each.is_symlink()]


def test_rays_doors_ask_for_the_token(service: Service) -> None:
    """Jobs, which run code, and everything else that the dashboard shows, are for whoever knows the token."""
    job = {"entrypoint": "id"}
    for headers in ({}, {"Authorization": "Bearer change-me"}):
        assert httpx.post(f"{board(service)}/api/jobs/", json=job, headers=headers).status_code in (401, 403)
        assert httpx.get(f"{board(service)}/api/serve/applications/", headers=headers).status_code in (401, 403)


def test_the_fronts_pages_ask_for_the_token(service: Service) -> None:
    """HAProxy's metrics take it as a bearer's, its statistics as a password."""
    token = service.secret("HDX_RAY_AUTH_TOKEN")
    metrics, statistics = (
        f"http://127.0.0.1:{service.environment[f'HDX_HAPROXY_{name}_PORT']}/{path}"
        for name, path in (("METRICS", "metrics"), ("STATS", "stats"))
    )
    for url in (metrics, statistics):
        assert httpx.get(url).status_code == 401
    assert httpx.get(metrics, headers={"Authorization": f"Bearer {token}"}).text.startswith("# HELP")
    assert httpx.get(statistics, auth=("hdx", token)).is_success


def test_mlflow_asks_for_a_log_in(service: Service) -> None:
    """Its pages, its models and their files are for whoever knows the password."""
    access = access_of(service.settings)
    for path in ("/", "/api/2.0/mlflow/registered-models/search", "/api/2.0/mlflow-artifacts/artifacts"):
        assert httpx.get(f"{access.url}{path}").status_code == 401
        assert httpx.get(f"{access.url}{path}", auth=("hdx", "change-me")).status_code == 401
        assert httpx.get(f"{access.url}{path}", auth=access.login).is_success


def test_mlflow_holds_no_key(service: Service) -> None:
    """Of HDX's secrets its processes are given what lets people in, and none that signs a version."""
    note = json.loads((service.home / "run.json").read_text(encoding="utf-8"))
    parent = psutil.Process(note["services"]["mlflow"]["pid"])
    kept = {service.secret(name) for name in ("HDX_SECRET_KEY", "HDX_RAY_AUTH_TOKEN", "HDX_ML_INTERNAL_API_KEY")}
    processes = [parent, *parent.children(recursive=True)]
    assert len(processes) > 1
    for process in processes:
        environment = process.environ()
        assert environment["HDX_MLFLOW_PASSWORD"] == service.secret("HDX_MLFLOW_PASSWORD")
        assert not kept & set(environment.values())


@pytest.mark.parametrize("name", ["x-session-id", "serve_multiplexed_model_id", "x-request-timeout-seconds"])
def test_callers_do_not_command_ray(service: Service, name: str) -> None:
    """What it reads of a request's headers never arrives, and no byte of it is an error of the server's."""
    for value in (b"-1", b"0", b"\xff"):
        assert httpx.get(f"{service.base}/health/", headers=[(name.encode(), value)]).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"), [(b"GET /health/ HTTP/1.1\r\nHost: a\r\n", 408), (b"What?\r\n\r\n", 400)], ids=["slow", "wrong"]
)
def test_half_a_request_holds_nothing(service: Service, sent: bytes, status: int) -> None:
    """Headers that do not come to an end, or are none, are answered by an error, and the line is closed."""
    with socket.create_connection(("127.0.0.1", int(service.environment["HDX_PORT"])), 60) as line:
        line.sendall(sent)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_the_dashboard_opens_by_a_link_once(service: Service) -> None:
    """`hdx dashboard` prints a link that logs a browser in; it leads nowhere a second time, nor does a guess."""
    command = [str(HDX), "dashboard", "--no-browser"]
    with subprocess.Popen(
        command, cwd=service.folder, env=service.environment, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        link = waiting.stdout.readline().strip()
        assert httpx.get(link[:-1]).status_code == 404
        with httpx.Client() as browser:
            arrived = browser.get(link)
            assert (arrived.status_code, arrived.headers["location"]) == (303, f"{board(service)}/")
            assert browser.get(f"{board(service)}/api/serve/applications/").is_success
        assert service.secret("HDX_RAY_AUTH_TOKEN") not in link
        assert waiting.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(link)


@AS_ROOT
def test_a_stranger_reads_and_writes_no_file(service: Service) -> None:
    """Neither of the home, nor of the folders that lie elsewhere, nor a socket."""
    folders = [service.home, ray_folder(service.home).parent]
    assert len(paths := paths_below(folders)) > 100
    assert as_stranger(OPEN, paths) == []


@AS_ROOT
def test_a_stranger_sees_no_secret(service: Service) -> None:
    """`.env` is closed, and no process carries a secret in its command line."""
    assert as_stranger(OPEN, [str(service.folder / ".env")]) == []
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    known = re.findall(r"^HDX_\w+=(\w{32,})$", (service.folder / ".env").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(known) == 5
    assert not any(secret in lines for secret in known)
