"""Everything that `hdx run` prepares on one machine, in the order it is needed; a second start finds it in place.

Works with `processes` and `cluster` for what it starts, and with `demo` for what a newcomer finds.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

import httpx
from rich.console import Console
from sqlalchemy import make_url

from configs.settings import Settings, environment, new_secrets
from pipelines.detectors.members import registry
from pipelines.errors import NotFound, Unavailable
from pipelines.knowledge.ingest.ingest import articles
from pipelines.knowledge.search.encoder import BUILT_IN
from pipelines.promotion.mlflow_client import Registry, Release
from serve_app.backups.mark import check_whole
from serve_app.local.cluster import BIN, Dashboard, read_config, start_ray
from serve_app.local.demo import DEMO_FAMILY, make_demo
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.local.embedded import start as start_postgres
from serve_app.local.mlflow_door import PASSWORD, USER
from serve_app.local.permissions import OTHERS, private_home
from serve_app.local.processes import Child, check_running, in_use, port_taken, start, wait_until
from serve_app.local.terminal import Steps, first_start, screen
from serve_app.shared.credentials import storage_key, webhook_secret
from serve_app.shared.registry_access import access_of
from serve_app.store.migrate import create_database, migrate

CLI = (sys.executable, "-m", "serve_app.cli")
AGAIN_S = 0.1  # after an interrupt that was lost; source: own choice, the callback has ended by then
START_S = 300.0  # the slowest start seen, a first one beside a full build, took under a third of it


def make_env(path: Path) -> bool:
    """Write `.env` with fresh secrets when there is none; tell whether it was written."""
    if path.exists():
        return False
    lines = [f"{name}={value}" for name, value in new_secrets().items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(["# Made by `hdx run`; see .env.example for every name.", *lines, ""]), encoding="utf-8")
    return True


def check_secrets(settings: Settings) -> None:
    """Refuse to start with a secret that everybody knows.

    Raises:
        Unavailable: One of them is left as it is shipped.
    """
    if settings.unset_secrets:
        raise Unavailable("settings", f"set {', '.join(settings.unset_secrets)} in .env: `hdx keys` prints fresh ones")


def check_ports(settings: Settings) -> None:
    """Refuse to start beside something that listens already.

    Raises:
        Unavailable: Names the port and the setting that moves it.
    """
    for name in (name for name in Settings.model_fields if name.endswith("port")):
        port = getattr(settings, name)
        if port_taken(settings.host, port):
            raise Unavailable(f"port {port}", f"something listens there; stop it or set HDX_{name.upper()}")


@contextmanager
def database(
    settings: Settings, before_stop: Callable[[], None] = lambda: None, *, as_it_is: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the addresses of HDX's and MLflow's databases, starting the embedded server when none is named or runs.

    Args:
        settings: Name a server, or the folder of the embedded one.
        before_stop: Called before a server is stopped that was started here.
        as_it_is: Leave the tables as they are; else they are brought up to date.

    Raises:
        Unavailable: A part of a backup is there alone.
    """
    if not as_it_is:
        check_whole(settings.home)
    if settings.database.url is not None:
        url = settings.database.url.get_secret_value()
        if not as_it_is:
            migrate(url)
        yield url, mlflow_database(settings, url)
        return
    postgres: EmbeddedPostgres = start_postgres(settings.home / "postgres")
    try:
        for name in ("hdx", "mlflow"):
            create_database(postgres.url("postgres"), name)
        if not as_it_is:
            migrate(postgres.url("hdx"))
        yield postgres.url("hdx"), postgres.url("mlflow")
    finally:
        if postgres.ours:
            before_stop()
        postgres.stop()


def mlflow_database(settings: Settings, url: str) -> str:
    """Return the address of MLflow's tables: the one that is set, else a database beside ours, made when absent."""
    if settings.database.mlflow_url is not None:
        return settings.database.mlflow_url.get_secret_value()
    create_database(url, "mlflow")
    return make_url(url).set(database="mlflow").render_as_string(hide_password=False)


def start_mlflow(settings: Settings, backend_url: str) -> Child:
    """Start the tracking server, which also hands out the artefacts."""
    command = [str(BIN / "mlflow"), "server", "--host", settings.host, "--port", str(settings.mlflow_port)]
    command += ["--workers", "1", "--app-name", "hdx"]
    command += ["--artifacts-destination", str(settings.home / "mlflow" / "artifacts")]
    return start("mlflow", command, mlflow_environment(settings, backend_url), settings.home / "logs" / "mlflow.log")


def mlflow_environment(settings: Settings, backend_url: str) -> dict[str, str]:
    """Return the environment of the tracking server: of HDX's secrets it holds what lets people in, and no other.

    Args:
        settings: Hold the secrets.
        backend_url: Of its database; a password in a command line would be everybody's to read.
    """
    own = {
        "MLFLOW_BACKEND_STORE_URI": backend_url,
        USER: settings.mlflow_username,
        PASSWORD: settings.mlflow_password.get_secret_value(),
        # Jobs and their extra processes serve MLflow's language-model features, which HDX does not use.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": storage_key(settings.secret_key.get_secret_value()),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # the service is its neighbour on loopback
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return {name: value for name, value in environment().items() if not name.startswith(("HDX_", "RAY_"))} | own


def answers(url: str) -> bool:
    """Tell whether a GET succeeds."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def train_when_absent(settings: Settings, steps: Steps, names: dict[str, str]) -> None:
    """Train the demo family when a detector has no version, or one of an earlier HDX, which signed none.

    What the training makes again, byte for byte, it signs; nothing is signed for being there.

    Raises:
        Unavailable: Too few detectors have a version that is signed; names the commands that sign the others.
    """
    source = Registry(access_of(settings))
    if any(release is None or not release.signature for release in answering(source)):
        command(steps, ["train", "--family", DEMO_FAMILY], names)
    left = [release for release in answering(source) if release and not source.is_signed(release)]
    if not left:
        return
    signing = ", ".join(f"`hdx sign {release.name} {release.version}`" for release in left)
    words = f"holds versions that this HDX has not signed; once they are known as good: {signing}"
    if len(registry()) - len(left) < settings.models.quorum:
        raise Unavailable("registry", words)
    steps.console.print(f"  [yellow]registry[/] {words}")


def answering(source: Registry) -> list[Release | None]:
    """Return the version of the demo family that should answer, for each detector; None where there is none."""
    found: list[Release | None] = []
    for detector in registry():
        try:
            found.append(source.live(DEMO_FAMILY, detector))
        except NotFound:
            found.append(None)
    return found


def hear_from_mlflow(settings: Settings) -> None:
    """Ask MLflow to say when an alias moves; without that it is seen at the next look."""
    secret = webhook_secret(settings.secret_key.get_secret_value())
    url = f"http://{settings.host}:{settings.port}/internal/mlflow/webhook"
    Registry(access_of(settings)).subscribe(url, secret)


@contextmanager
def indexing(settings: Settings, steps: Steps, names: dict[str, str]) -> Iterator[None]:
    """Index the built-in knowledge beside the block, when its text or the encoder is another than last time.

    Raises:
        Unavailable: It failed; names its log.
    """
    mark = index_mark(settings)
    content = b"".join(path.read_bytes() for path in articles())
    encoder = f"{settings.knowledge.encoder_path or BUILT_IN} {settings.knowledge.encoder_multilingual}"
    digest = sha256(content + encoder.encode()).hexdigest()
    if mark.exists() and mark.read_text(encoding="utf-8") == digest:
        yield
        return
    words = ["index", "--built-in"]
    steps.console.print(f"  [dim]hdx {' '.join(words)}[/dim]")
    with start("index", [*CLI, *words], names, settings.home / "logs" / "index.log") as child:
        yield
        with steps.step("index of the knowledge"):
            child.process.wait()
    if child.process.returncode:
        check_running([child])
    mark.write_text(digest, encoding="utf-8")


def index_mark(settings: Settings) -> Path:
    """Return where the digest of the indexed knowledge lies; the last thing that a first start leaves."""
    return settings.home / "knowledge" / "built-in.sha256"


def command(steps: Steps, words: Sequence[str], names: dict[str, str]) -> None:
    """Run one of our own commands in its own process, so that its libraries do not stay in this one.

    Raises:
        Unavailable: It failed; its own output says why.
    """
    steps.console.print(f"  [dim]hdx {' '.join(words)}[/dim]")
    outcome = subprocess.run([*CLI, *words], env=names, check=False)  # noqa: S603
    if outcome.returncode:
        raise Unavailable(f"hdx {words[0]}", f"ended with code {outcome.returncode}")


def deploy(settings: Settings, steps: Steps, config: Mapping[str, Any]) -> None:
    """Ask for the state that `config` describes, and wait until it is reached and answers.

    Raises:
        Unavailable: It was not reached.
    """
    dashboard = Dashboard(settings)
    total = len(config["applications"][0]["deployments"])
    dashboard.deploy(config)
    with steps.step("deploy the graph", total) as bar:
        end = time.monotonic() + START_S
        while not (dashboard.running() and answers(f"http://{settings.host}:{settings.port}/health/ready")):
            bar.reach(list(dashboard.deployments().values()).count("HEALTHY"), total)
            if time.monotonic() > end:
                raise Unavailable("application", f"not ready after {START_S:g} s: `hdx status`, `hdx logs`")
            time.sleep(0.5)


def write_run(settings: Settings, children: Sequence[Child], database_url: str) -> Path:
    """Leave a note of what runs, for `hdx status`, `hdx logs` and `hdx doctor`."""
    path = settings.home / "run.json"
    services = {child.name: {"pid": child.process.pid, "log": str(child.log)} for child in children}
    path.touch(mode=0o600)
    path.write_text(json.dumps({"pid": os.getpid(), "database_url": database_url, "services": services}))
    return path


def run(settings: Settings, console: Console) -> None:
    """Start everything, print one screen, and stay until Ctrl-C or until a part ends.

    Raises:
        HdxError: A part did not start, or ended by itself.
    """
    steps = Steps(console)
    check_secrets(settings)
    os.umask(OTHERS)
    private_home(settings.home)
    check_ports(settings)
    with ExitStack() as stack:
        stop_on_signals()
        # A command that works without a service stops what it has started; it ends first, and the next one finds ours.
        starting = stack.enter_context(ExitStack())
        with steps.step("PostgreSQL"):
            starting.enter_context(in_use(settings.home, alone=True))
            check_ports(settings)  # another start may have come first
            url, mlflow_url = stack.enter_context(database(settings))
        names = environment(HDX_HOME=str(settings.home), HDX_DATABASE__URL=url, HDX_PROFILE=settings.profile)
        children = [] if settings.mlflow_url else [stack.enter_context(start_mlflow(settings, mlflow_url))]
        with steps.step("accounts and demo system"):
            login = asyncio.run(make_demo(settings, url))
        sockets = Path(stack.enter_context(TemporaryDirectory(prefix="hdx-", ignore_cleanup_errors=True)))
        if not index_mark(settings).exists():
            console.print(first_start(settings))
        # Training takes every core, and a Ray head that starts beside it can miss its own time-outs.
        trained = index_mark(settings).exists()
        if trained:
            children.append(stack.enter_context(start_ray(settings, names, sockets)))
        with steps.step("MLflow"):
            wait_until(lambda: answers(f"{settings.tracking_url}/health"), children, START_S)
        starting.close()
        if not settings.mlflow_url:
            hear_from_mlflow(settings)
        with indexing(settings, steps, names):
            train_when_absent(settings, steps, names)
        if not trained:
            children.append(stack.enter_context(start_ray(settings, names, sockets)))
        with steps.step("Ray"):
            wait_until(Dashboard(settings).ready, children, START_S)
        deploy(settings, steps, read_config(settings))
        stack.callback(write_run(settings, children, url).unlink, missing_ok=True)
        console.print(screen(settings, login), soft_wrap=True, markup=False)
        watch(children)


def watch(children: Sequence[Child]) -> NoReturn:
    """Stay until a child ends.

    Raises:
        Unavailable: It ended.
    """
    while True:
        check_running(children)
        time.sleep(0.5)


def stop_on_signals() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt, once, wherever they come."""
    # Set for both: a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _again_when_lost


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # A second Ctrl-C must not cut the stopping short: what it would have stopped next would stay.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _again_when_lost(lost: "sys.UnraisableHookArgs") -> None:
    """Interrupt once more where the interrupt fell into a callback that cannot raise, and was lost there."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        sys.__unraisablehook__(lost)
