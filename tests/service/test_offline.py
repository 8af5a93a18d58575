"""Commands on a machine where no service runs: they start what they need, or say before the work what is missing."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import psutil
import pytest
from rich.console import Console

from configs.settings import Settings
from pipelines.datasets.simulator import simulate
from pipelines.errors import Unavailable
from serve_app.local import bootstrap
from serve_app.local.bootstrap import index_mark
from serve_app.local.processes import in_use
from serve_app.local.terminal import Steps
from tests.serve.service import HDX, ROOT, Service

KINDS = ("healthy", "pump_wear", "healthy", "valve_lag", "cavitation", "healthy")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A fresh clone that nothing was started in, and a few recordings."""
    folder = tmp_path_factory.mktemp("clone")
    rows = [
        {"system": f"m{row % 8}", "fault": KINDS[row % 6]}
        | {name: values.tolist() for name, values in simulate(KINDS[row % 6], 0.8, 20, row).values.items()}
        for row in range(48)
    ]
    pd.DataFrame(rows).to_parquet(folder / "in.parquet")
    return Service(folder)


def left_running(machine: Service) -> list[str]:
    """Return the commands of processes that still work in the home."""
    home = str(machine.home)
    return [line for each in psutil.process_iter(["cmdline"]) if home in (line := " ".join(each.info["cmdline"] or ()))]


def test_training_and_scoring_need_no_service(machine: Service) -> None:
    """`train` registers four versions, `score` finds them after it, and what both started is gone when they end."""
    said = machine.hdx("train", "--family", "generic", "--data", "in.parquet")
    assert "MLflow, for this command" in said
    assert said.count("hdx-generic-") == 4
    assert left_running(machine) == []
    machine.hdx("score", "--family", "generic", "in.parquet", "out.parquet")
    assert np.isfinite(pd.read_parquet(machine.folder / "out.parquet")["score"]).all()
    assert left_running(machine) == []


def test_who_is_told_to_end_leaves_nothing_behind(machine: Service) -> None:
    """After SIGTERM in the middle of the work the database and MLflow that were started for it are gone."""
    command = [str(HDX), "train", "--family", "generic"]
    process = subprocess.Popen(
        command, cwd=machine.folder, env=machine.environment, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert any("MLflow, for this command" in line for line in process.stdout)
    assert left_running(machine)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert left_running(machine) == []


@pytest.mark.parametrize("words", [("train", "--data", "broken.parquet"), ("score", "broken.parquet", "out.parquet")])
def test_a_registry_elsewhere_that_is_away_is_named_before_the_work(
    machine: Service, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The recordings are not even opened, or this broken file would be the fault that is named."""
    (machine.folder / "broken.parquet").write_bytes(b"no parquet")
    names = machine.environment | {"HDX_MLFLOW_URL": "http://127.0.0.1:9", "HDX_HOME": str(tmp_path / "var")}
    command = [str(HDX), words[0], "--family", "generic", *words[1:]]
    done = subprocess.run(command, cwd=machine.folder, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "hdx: registry: nothing answers at http://127.0.0.1:9: start it, or mend HDX_MLFLOW_URL\n"


def test_a_part_stays_until_the_last_that_uses_it(tmp_path: Path) -> None:
    """Who started a part waits before stopping it until other commands have ended, and a dead one holds up nobody."""
    code = "import sys, time; from pathlib import Path; from serve_app.local.processes import in_use\n"
    code += "with in_use(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with in_use(tmp_path) as alone, subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        waiting = Thread(target=alone)
        waiting.start()
        waiting.join(0.3)
        waited = waiting.is_alive()
        other.kill()
        assert waited
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_start_comes_after_those_that_end(tmp_path: Path) -> None:
    """Who wants to be alone waits for one that ends, also where both wait for a third: it would stop what was found."""
    order: list[str] = []
    third, ending = ExitStack(), ExitStack()
    third.enter_context(in_use(tmp_path))
    wait_for_others = ending.enter_context(in_use(tmp_path))

    def begin() -> None:
        with in_use(tmp_path, alone=True):
            order.append("begun")

    def end() -> None:
        wait_for_others()
        order.append("ended")
        ending.close()

    threads = [Thread(target=begin), Thread(target=end)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    third.close()
    for thread in threads:
        thread.join(10)
    assert order == ["ended", "begun"]


def test_what_was_started_ends_with_who_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no child that would keep its port while the next command stops the database under it."""
    code = "import os, sys, time; from pathlib import Path; from serve_app.local.processes import start\n"
    code += "print(start('part', ['sleep', '600'], os.environ, Path(sys.argv[1])).process.pid, flush=True)\n"
    code += "time.sleep(600)"
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        part = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    try:
        part.wait(10)
    finally:
        if part.is_running():
            part.kill()


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_feedback_is_read_beside_a_registry_elsewhere(machine: Service, tmp_path: Path) -> None:
    """The database that is started for it stops again, and the training goes on to the recordings."""
    (machine.folder / "broken.parquet").write_bytes(b"no parquet")
    with HTTPServer(("127.0.0.1", 0), _Healthy) as registry:
        Thread(target=registry.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{registry.server_port}"
        names = machine.environment | {"HDX_MLFLOW_URL": address, "HDX_HOME": str(tmp_path / "var")}
        command = [str(HDX), "train", "--family", "generic", "--feedback", "--data", "broken.parquet"]
        done = subprocess.run(
            command, cwd=machine.folder, env=names, capture_output=True, text=True, check=False, timeout=60
        )
        registry.shutdown()
    assert done.returncode == 1
    assert "broken.parquet" in done.stderr


def test_a_start_looks_at_the_ports_once_it_is_alone(machine: Service) -> None:
    """Another start that came first has them by then: this one says so, and does not go on with the other's parts."""
    port = int(machine.environment["HDX_MLFLOW_PORT"])
    with ExitStack() as first:
        first.enter_context(in_use(machine.home, alone=True))
        command = [str(HDX), "run"]
        second = subprocess.Popen(
            command, cwd=machine.folder, env=machine.environment, stderr=subprocess.PIPE, text=True
        )
        known = psutil.Process(second.pid)
        while not any(each.path.endswith("in-use.lock") for each in known.open_files()):
            time.sleep(0.05)
        time.sleep(0.2)
        listener = socket.create_server(("127.0.0.1", port))
    with listener:
        _, said = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"port {port}: something listens there" in said


def test_an_index_that_fails_is_named_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made beside what else a first start does, counts as made when its command ends well, and then stays."""
    settings, steps = Settings(home=tmp_path), Steps(Console(quiet=True))
    index_mark(settings).parent.mkdir()
    monkeypatch.setattr(bootstrap, "CLI", (sys.executable, "-c", "raise SystemExit(3)"))
    with (
        pytest.raises(Unavailable, match=r"index: ended with code 3.*index\.log"),
        bootstrap.indexing(settings, steps, {}),
    ):
        pass
    assert not index_mark(settings).exists()
    waits = "import sys, time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bootstrap, "CLI", (sys.executable, "-c", waits))
    with bootstrap.indexing(settings, steps, {}):
        (tmp_path / "go").touch()  # reached while the command still waits for it
    assert index_mark(settings).exists()
    monkeypatch.setattr(bootstrap, "CLI", ("/no/such/command",))
    with bootstrap.indexing(settings, steps, {}):
        pass
