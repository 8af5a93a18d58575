"""Rules of a service that was started with one command."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelines.datasets.simulator import simulate
from pipelines.machines.family import read_family
from tests.serve.service import HDX, ROOT, Service

SERVE = HDX.parent / "serve"
HEALTHY = {
    "pressure": [100.5, 101.2, 99.8, 100.1, 100.3],
    "temperature": [45.3, 45.1, 45.5, 45.2, 45.4],
    "flow": [25.0, 24.8, 25.2, 25.1, 24.9],
    "vibration": [0.5, 0.6, 0.5, 0.5, 0.6],
}


def replicas(service: Service) -> dict[str, set[int]]:
    """Return the process ids of each deployment's replicas."""
    url = f"http://127.0.0.1:{service.environment['HDX_DASHBOARD_PORT']}/api/serve/applications/"
    token = {"Authorization": f"Bearer {service.secret('HDX_RAY_AUTH_TOKEN')}"}
    application = httpx.get(url, timeout=30, headers=token).json()["applications"]["hdx"]
    return {
        name: {replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}
        for name, deployment in application["deployments"].items()
    }


def eventually(holds: Callable[[], bool], seconds: float = 180) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def serve(service: Service, *words: str) -> str:
    """Run Ray's own `serve` command in the service's folder, where it finds what it needs."""
    done = subprocess.run(
        [str(SERVE), *words], cwd=service.folder, env=service.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(service: Service) -> str:
    """Return the application's status as `serve status` prints it."""
    printed: dict[str, Any] = yaml.safe_load(serve(service, "status"))
    state: str = printed["applications"]["hdx"]["status"]
    return state


def detect(client: httpx.Client, system_id: int, values: dict[str, list[float]]) -> dict[str, Any]:
    """Return the answer to one window."""
    body = {"system_id": system_id, "sensor_data": values}
    answer: dict[str, Any] = client.post("/api/diagnostics/anomaly/detect/", json=body).raise_for_status().json()
    return answer


def test_a_worn_pump_is_named(service: Service) -> None:
    """The quickstart's machine is healthy; with the simulator's pump wear it is not, and the pump is named."""
    levels = {name: channel.typical for name, channel in read_family("generic").channels.items()}
    worn = simulate("pump_wear", 0.8, 5, 11, levels)
    with service.client() as client:
        assert detect(client, 1, HEALTHY)["prediction"]["is_anomaly"] is False
        answer = detect(client, 1, {name: values.tolist() for name, values in worn.values.items()})
    assert answer["prediction"]["is_anomaly"] is True
    assert "pump" in answer["prediction"]["affected_components"]


def test_a_disabled_person_is_out_within_seconds(service: Service) -> None:
    """An access token of an account that `hdx user disable` closes is refused by the running replicas soon after."""
    words = ("--email", "leaver@example.com", "--password", "the password of one who goes")
    service.hdx("user", "create", "leaver", *words)
    with service.client("leaver", "the password of one who goes") as client:
        assert client.get("/api/systems/").is_success
        service.hdx("user", "disable", "leaver")
        assert eventually(lambda: client.get("/api/systems/").status_code == 401, 30)
        again = {"username": "leaver", "password": "the password of one who goes"}
        assert client.post("/api/auth/login/", json=again).status_code == 401


def test_a_diagnosis_can_be_read_back(service: Service) -> None:
    """What was answered is found again under its trace id, by the tenant alone."""
    with service.client() as client:
        answer = detect(client, 1, HEALTHY)
        stored = client.get(f"/api/diagnostics/{answer['trace_id']}/").raise_for_status().json()
        assert stored["answer"]["prediction"] == answer["prediction"]
        service.hdx(
            "user",
            "create",
            "stranger",
            "--email",
            "s@example.com",
            "--tenant",
            "other",
            "--password",
            "dev-password-03",
        )
        with service.client("stranger", "dev-password-03") as stranger:
            assert stranger.get(f"/api/diagnostics/{answer['trace_id']}/").status_code == 404
            body = {"system_id": 1, "sensor_data": HEALTHY}
            assert stranger.post("/api/diagnostics/anomaly/detect/", json=body).status_code == 404


def test_every_listener_is_on_loopback(service: Service) -> None:
    """Nothing that was started here listens on another interface."""
    assert service.process is not None
    session = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    family, grown = {service.process.pid}, True
    pairs = [tuple(map(int, line.split())) for line in session.splitlines()[1:]]
    while grown:
        more = {pid for pid, parent in pairs if parent in family} - family
        family, grown = family | more, bool(more)
    listening = listeners(family)
    assert listening
    assert [
        address for address in listening if not address.startswith(("0100007F", "0000000000000000FFFF00000100007F"))
    ] == []


def listeners(pids: set[int]) -> list[str]:
    """Return the local addresses, as the kernel writes them, on which these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


def test_a_replica_holds_no_library_it_does_not_use(service: Service) -> None:
    """Ray Serve is imported without pandas, which weighs a fifth of a bare replica."""
    (ensemble,), (catboost,) = (replicas(service)[name] for name in ("Ensemble", "Detector-catboost"))
    assert "/pandas/" in Path(f"/proc/{catboost}/maps").read_text(encoding="utf-8")  # CatBoost itself wants it
    assert "/pandas/" not in Path(f"/proc/{ensemble}/maps").read_text(encoding="utf-8")


def test_an_unchanged_config_keeps_every_process(service: Service, tmp_path: Path) -> None:
    """`serve deploy` of the same config replaces nothing; an edit of one deployment replaces or adds there alone."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))
    config["http_options"]["port"] = int(service.environment["HDX_PORT"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    serve(service, "deploy", str(path))
    assert eventually(lambda: status(service) == "RUNNING")
    before = replicas(service)
    serve(service, "deploy", str(path))
    assert eventually(lambda: status(service) == "RUNNING")
    assert replicas(service) == before
    edited = next(d for d in config["applications"][0]["deployments"] if d["name"] == "Generator")
    edited["ray_actor_options"] = {"num_cpus": 0.05}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    serve(service, "deploy", str(path))
    assert eventually(lambda: status(service) == "RUNNING" and replicas(service)["Generator"] != before["Generator"])
    after = replicas(service)
    assert {name for name in after if after[name] != before[name]} == {"Generator"}


def test_health_notices_a_removed_artefact(service: Service) -> None:
    """With a detector's artefact removed its name leaves `models_loaded`, and comes back with the artefact."""
    artefact = next((service.home / "mlflow" / "artifacts").rglob("*.ubj"))
    aside = artefact.with_suffix(".aside")

    def loaded() -> tuple[str, list[str]]:
        answer = httpx.get(f"{service.base}/internal/ml/health", timeout=30).json()
        return answer["status"], answer["models_loaded"]

    assert eventually(lambda: loaded() == ("healthy", ["catboost", "xgboost", "random_forest", "adaptive"]))
    artefact.rename(aside)
    try:
        assert eventually(lambda: loaded() == ("degraded", ["catboost", "random_forest", "adaptive"]))
        whole = httpx.get(f"{service.base}/health/", timeout=30).json()
        assert whole["status"] == "degraded"
        assert whole["checks"]["ml_service"] == "degraded"
    finally:
        aside.rename(artefact)
    assert eventually(lambda: loaded()[0] == "healthy")


def test_a_detector_that_dies_abstains(service: Service) -> None:
    """With a detector's replica killed the answer stands on the others, or on its successor; never an error."""
    (victim,) = replicas(service)["Detector-catboost"]
    subprocess.run(["kill", "-9", str(victim)], check=True)
    with service.client() as client:
        answer = detect(client, 1, HEALTHY)
        votes = {vote["ml_model"]: vote for vote in answer["ml_predictions"]}
        assert sum(vote["prediction_score"] is not None for vote in votes.values()) >= 3
        assert eventually(lambda: detect(client, 1, HEALTHY)["ml_predictions"][0]["prediction_score"] is not None)


@pytest.fixture(scope="module")
def built(service: Service) -> dict[str, Any]:
    """What `serve build` writes."""
    target = service.folder / "built.yaml"
    subprocess.run(
        [str(SERVE), "build", "serve_app.app:graph", "-o", str(target)], env=service.environment, check=True, cwd=ROOT
    )
    text: dict[str, Any] = yaml.safe_load(target.read_text(encoding="utf-8"))
    return text


def test_serve_build_writes_the_shipped_graph(built: dict[str, Any]) -> None:
    """`serve build` finds exactly the deployments that `serve_config.yaml` sizes."""
    shipped = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))
    names = [{d["name"] for d in config["applications"][0]["deployments"]} for config in (built, shipped)]
    assert names[0] == names[1]


def test_an_invented_address_gives_no_more_attempts(service: Service) -> None:
    """A caller that claims another address with each wrong password is stopped as any other."""
    with httpx.Client(base_url=service.base, timeout=60) as client:
        body = {"username": "nobody-here", "password": "wrong"}
        replies = [
            client.post("/api/auth/login/", json=body, headers={"x-forwarded-for": f"203.0.113.{number}"})
            for number in range(1, 12)
        ]
    assert replies[0].status_code == 401
    assert replies[-1].status_code == 429
