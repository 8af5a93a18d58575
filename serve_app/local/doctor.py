"""What runs on this machine, what it wrote, and what is wrong with it, each trouble with its cure.

Works for `hdx status`, `hdx logs` and `hdx doctor`; asks the service itself, MLflow and Ray's dashboard.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.table import Table

from configs.settings import Settings
from pipelines.detectors.adaptive import Adaptive
from pipelines.errors import HdxError, NotFound
from pipelines.promotion.mlflow_client import Registry
from serve_app.local.cluster import Dashboard, ray_folder
from serve_app.local.demo import DEMO_FAMILY
from serve_app.local.terminal import lost_password
from serve_app.shared.registry_access import access_of

TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `words` says what to do where it is not fine."""

    part: str
    fine: bool
    words: str


def read_run(settings: Settings) -> dict[str, Any]:
    """Return the note that a running `hdx run` left, or an empty one."""
    path = settings.home / "run.json"
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return note if Path(f"/proc/{note['pid']}").exists() or not Path("/proc").exists() else {}


def base_url(settings: Settings) -> str:
    """Return where the gateway answers."""
    return f"http://{settings.host}:{settings.port}"


def get(url: str, **options: Any) -> httpx.Response | None:
    """Return the answer to a GET, or None when nothing answers."""
    try:
        return httpx.get(url, timeout=10, **options)
    except httpx.TransportError:
        return None


def status_table(settings: Settings) -> Table:
    """Return services and deployments with their state."""
    table = Table("service", "state", "where", box=None)
    health = get(f"{base_url(settings)}/health/")
    checks = health.json()["checks"] if health is not None else {}
    table.add_row("gateway", health.json()["status"] if health is not None else "down", base_url(settings))
    for part, state in checks.items():
        table.add_row(f"  {part}", state, "")
    table.add_row("mlflow", "up" if get(f"{settings.tracking_url}/health") else "down", settings.tracking_url)
    dashboard = Dashboard(settings)
    ready = dashboard.ready()
    table.add_row("ray", "up" if ready else "down", f"http://127.0.0.1:{settings.dashboard_port}")
    for name, state in dashboard.deployments().items() if ready else ():
        table.add_row(f"  {name}", state.lower(), "")
    return table


def log_files(settings: Settings) -> dict[str, list[Path]]:
    """Return the log files of each service, and of each deployment's replicas."""
    logs = settings.home / "logs"
    files = {"gateway": [logs / "hdx.jsonl"], "mlflow": [logs / "mlflow.log"], "ray": [logs / "ray.log"]}
    for path in sorted((ray_folder(settings.home) / "session_latest" / "logs" / "serve").glob("replica_hdx_*.log")):
        deployment = path.stem.removeprefix("replica_hdx_").rsplit("_", 1)[0]
        files.setdefault(deployment, []).append(path)
    return {name: [path for path in paths if path.exists()] for name, paths in files.items()}


def print_logs(settings: Settings, service: str, follow: bool) -> None:
    """Print the end of a service's logs, and with `follow` whatever is added.

    Raises:
        NotFound: No such service.
    """
    files = log_files(settings)
    if service and service not in files:
        raise NotFound("service", f"{service}; there are {', '.join(files)}")
    wanted = [path for name, paths in files.items() if service in ("", name) for path in paths]
    for path in wanted:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]:
            print(line)
    if follow:
        for line in added(wanted):
            print(line, end="", flush=True)


def added(paths: list[Path]) -> Iterator[str]:
    """Yield lines as they are written, for ever."""
    offsets = {path: path.stat().st_size for path in paths}
    while True:
        for path in paths:
            # A full log is renamed, and for a moment there is none.
            with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
                begun_anew = path.stat().st_size < offsets[path]
                file.seek(0 if begun_anew else offsets[path])
                yield from file
                offsets[path] = file.tell()
        time.sleep(0.5)


def examine(settings: Settings) -> list[Finding]:
    """Look at every part a request needs, from the outside in."""
    findings = [run_finding(settings), gateway_finding(settings)]
    if findings[-1].fine:
        findings += [key_finding(settings, "ml", "/metrics"), key_finding(settings, "rag", "/metrics")]
        findings += part_findings(settings)
    return [*findings, mlflow_finding(settings), ray_finding(settings), log_in_finding(settings)]


def run_finding(settings: Settings) -> Finding:
    """Tell whether `hdx run` is alive over this home."""
    note = read_run(settings)
    words = f"process {note['pid']} over {settings.home}" if note else "not running here: start it with `make run`"
    return Finding("hdx run", bool(note), words)


def log_in_finding(settings: Settings) -> Finding:
    """Tell how the first administrator gets in again; the password itself is stored nowhere."""
    name = settings.admin_username
    return Finding("log-in", True, f"{name}; a lost password is set anew by `{lost_password(name)}`")


def gateway_finding(settings: Settings) -> Finding:
    """Tell whether the gateway answers at all."""
    answer = get(f"{base_url(settings)}/health/live")
    if answer is None:
        return Finding("gateway", False, f"nothing answers at {base_url(settings)}: see `hdx logs ray` and HDX_PORT")
    fine = answer.is_success
    return Finding("gateway", fine, base_url(settings) if fine else f"another program answers at {base_url(settings)}")


def key_finding(settings: Settings, name: str, path: str) -> Finding:
    """Tell whether the internal key of `.env` is the one the running service knows."""
    key = getattr(settings, f"{name}_internal_api_key").get_secret_value()
    answer = get(base_url(settings) + path, headers={"X-Internal-API-Key": key})
    fine = answer is not None and answer.is_success
    setting = f"HDX_{name.upper()}_INTERNAL_API_KEY"
    words = "the service knows it" if fine else "the service started with another one: stop it and `make run` again"
    return Finding(setting, fine, words)


def part_findings(settings: Settings) -> list[Finding]:
    """Tell what the health of the service says of each part."""
    answer = get(f"{base_url(settings)}/health/")
    checks: dict[str, str] = answer.json()["checks"] if answer is not None else {}
    cures = {
        "database": "see HDX_DATABASE__URL",
        "ml_service": "a detector has no usable champion: GET /api/models/ says why; `hdx train --family generic`",
        "rag_service": "index empty or away: `hdx index --built-in`; or encoder or generator away: `hdx status`",
        "redis": "see HDX_REDIS__URL; answers are not cached meanwhile",
    }
    return [
        Finding(part, state == "ok", "ok" if state == "ok" else f"{state}: {cures.get(part, 'see `hdx logs gateway`')}")
        for part, state in checks.items()
    ]


def mlflow_finding(settings: Settings) -> Finding:
    """Tell whether the registry answers, and takes the log-in."""
    try:
        Registry(access_of(settings)).champion(DEMO_FAMILY, Adaptive.name)
    except HdxError as error:
        return Finding("mlflow", False, f"{error}: see `hdx logs mlflow`")
    return Finding("mlflow", True, settings.tracking_url)


def ray_finding(settings: Settings) -> Finding:
    """Tell whether Ray holds the application as the config describes it."""
    dashboard = Dashboard(settings)
    if not dashboard.ready():
        return Finding("ray", False, "the dashboard does not answer: see `hdx logs ray`")
    try:
        states = dashboard.deployments()
    except HdxError as error:
        return Finding("ray", False, str(error))
    ill = sorted(name for name, state in states.items() if state != "HEALTHY")
    return Finding(
        "ray", not ill, f"{len(states)} deployments healthy" if not ill else f"not healthy: {', '.join(ill)}"
    )
