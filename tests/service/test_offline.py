"""Commands on a machine where no service runs: they start what they need, or say before the work what is missing."""

import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import psutil
import pytest

from pipelines.datasets.simulator import simulate
from serve_app.local.processes import in_use
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
