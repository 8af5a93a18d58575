"""What `hdx run` asks Ray Serve for."""

import os
import socket
import subprocess
import sys

import pytest

from configs.settings import Graph, Settings
from pipelines.errors import Unavailable
from serve_app.local.cluster import Dashboard, read_config


def bounds(settings: Settings) -> dict[str, tuple[int, int]]:
    """Return each deployment's least and most replicas."""
    parts = read_config(settings)["applications"][0]["deployments"]
    scaling = {part["name"]: part["autoscaling_config"] for part in parts}
    return {name: (part["min_replicas"], part["max_replicas"]) for name, part in scaling.items()}


@pytest.mark.parametrize(("cores", "most"), [(None, 1), (2, 1), (4, 2), (64, 4)])
def test_cores_bound_the_replicas(cores: int | None, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores feed one of each deployment; never more than `serve_config.yaml` allows."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    found = bounds(Settings())
    for name in ("Indexer", "Promoter", "Worker"):  # one each, whatever the machine
        assert found.pop(name) == (1, 1)
    assert {"Gateway", "Ensemble", "Detector-catboost"} < set(found)
    assert set(found.values()) == {(1, most)}


@pytest.mark.parametrize(("cores", "gateways"), [(1, (1, 1)), (2, (2, 2)), (64, (2, 4))])
def test_packed_takes_a_replica_a_core(cores: int, gateways: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway holds the whole detect path, and nothing of it has a deployment of its own."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    found = bounds(Settings(graph=Graph(placement="packed")))
    assert found.pop("Gateway") == gateways
    assert set(found) == {"Embedder", "Retriever", "Generator", "Indexer", "Promoter", "Worker"}


def test_a_dashboard_that_does_not_answer_is_named() -> None:
    """Whoever deploys or asks for the state reads which part is away, and where."""
    with socket.socket() as silent:  # bound, and nobody listens
        silent.bind(("127.0.0.1", 0))
        dashboard = Dashboard(Settings(dashboard_port=silent.getsockname()[1]))
        assert not dashboard.ready()
        for ask in (dashboard.deployments, dashboard.running, lambda: dashboard.deploy({})):
            with pytest.raises(Unavailable, match=f"ray.*does not answer.*{silent.getsockname()[1]}"):
                ask()


def test_a_signal_within_a_callback_stops_all_the_same() -> None:
    """What a finaliser raises is lost, an interrupt too; it comes again, and is no less the last one."""
    script = """
import os, signal, time
from serve_app.local.bootstrap import stop_on_signals

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

stop_on_signals()
Finalised()
try:
    time.sleep(30)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    print("stopped")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "stopped\n"
