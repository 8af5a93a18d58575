"""The words of `docs/files.md` on the API, executed by a shell against a running service, as a stranger would."""

import asyncio
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from serve_app.detection import Detection
from serve_app.shared.credentials import digest
from serve_app.store.life import evidence_of
from serve_app.store.repository import Store
from serve_app.watching import Watching
from tests.serve.service import ROOT, free_ports
from tests.service.own_exports import FAULT, KNOWN, LENGTH, logger
from tests.service.strangers import application, new_key, services_of

PAGE = ROOT / "docs" / "files.md"


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an application; give its address."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def minutes(folder: Path) -> None:
    """Write what a logger would: a file of the good time, and then one a minute, the last ones with a fault."""
    head, *rows = logger().content.decode("cp1252").split("\r\n")[4:]
    (folder / "new").mkdir()
    (folder / "press.csv").write_text("\r\n".join([head, *rows[:KNOWN]]), encoding="cp1252")
    for first in range(KNOWN, LENGTH, 60):
        lines = "\r\n".join([head, *rows[first : first + 60]])
        (folder / "new" / f"{first:04d}.csv").write_text(lines, encoding="cp1252")


def executed(script: str, app: FastAPI, key: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script against a running service."""
    with serving(app) as address:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HDX": address, "KEY": key},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl and jq are not here")
async def test_the_words_of_the_page_lead_to_an_alarm(embedded_url: str, tmp_path: Path) -> None:
    """Nothing is asked, ten windows are learned, those with the fault name the flow; watched they raise the alarm."""
    store = Store.open(embedded_url, 2)
    key = await new_key(store)
    minutes(tmp_path)
    (script,) = re.findall(r"```sh\n(# A kind of machine.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = await asyncio.to_thread(executed, script, application(embedded_url, tmp_path / "home"), key, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "proposal.json").read_text(encoding="utf-8"))["asked"] == []
    assert '"state": "monitoring"' in done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines() if re.match(r"\[(true|false),", line)]
    healthy = (FAULT - KNOWN) // 60
    assert len(answers) == (LENGTH - KNOWN) // 60
    assert answers[:healthy] == [[False, None]] * healthy
    assert answers[healthy:] == [[True, "low_flow"]] * (len(answers) - healthy)
    assert json.loads(done.stdout.splitlines()[-1])["raised"] is False  # no worker runs beside this application
    caller = await store.keys.principal(digest(key))
    assert caller is not None
    (system,) = await store.systems.page(caller.tenant_id, 0, 10)
    services = services_of(store, tmp_path / "home")
    for _ in range(3):
        await Watching(Detection(services)).look(caller.tenant_id, system.system_id)
    assert evidence_of(await store.systems.get(caller.tenant_id, system.system_id)).raised
    await store.close()
