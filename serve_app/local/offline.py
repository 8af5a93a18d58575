"""What a command needs of the service's parts while no service runs, for as long as the command works.

Works with `bootstrap`, which starts the same parts for `hdx run`.
"""

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from rich.console import Console

from configs.settings import Settings
from pipelines.errors import Unavailable
from pipelines.promotion.mlflow_client import Registry
from serve_app.local.bootstrap import START_S, answers, database, start_mlflow
from serve_app.local.processes import in_use, port_taken, wait_until
from serve_app.local.terminal import Steps
from serve_app.shared.registry_access import access_of
from serve_app.store.repository import Store


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store for as long as the block lasts, with the embedded server started when none runs."""
    with in_use(settings.home) as alone, database(settings, alone) as (url, _):
        store = Store.open(url, 1)
        try:
            yield store
        finally:
            await store.close()


@contextmanager
def open_registry(settings: Settings, console: Console) -> Iterator[Registry]:
    """Yield the registry for as long as the block lasts, with MLflow started when it is this machine's and none runs.

    Raises:
        Unavailable: It is another machine's and does not answer, or something else has its port.
    """
    health = f"{settings.tracking_url}/health"
    with ExitStack() as stack:
        alone = stack.enter_context(in_use(settings.home))
        if not check_registry(settings):
            # What is started here is stopped here, also when this process is told to end.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            with Steps(console).step("MLflow, for this command: `hdx run` is not there"):
                _, tables = stack.enter_context(database(settings, alone))
                mlflow = stack.enter_context(start_mlflow(settings, tables))
                wait_until(lambda: answers(health), [mlflow], START_S)
            stack.callback(alone)
        yield Registry(access_of(settings))


def check_registry(settings: Settings) -> bool:
    """Tell whether the registry answers, before any work that would be for nothing without it.

    Raises:
        Unavailable: It does not, and cannot be started here.
    """
    if answers(f"{settings.tracking_url}/health"):
        return True
    check_startable(settings)
    return False


def check_startable(settings: Settings) -> None:
    """Refuse before any work what would fail at its end.

    Raises:
        Unavailable: Says what to start, or which port to free.
    """
    if settings.mlflow_url:
        raise Unavailable("registry", f"nothing answers at {settings.mlflow_url}: start it, or mend HDX_MLFLOW_URL")
    if port_taken(settings.host, settings.mlflow_port):
        words = "what listens there is no MLflow; stop it or set HDX_MLFLOW_PORT"
        raise Unavailable(f"port {settings.mlflow_port}", words)
