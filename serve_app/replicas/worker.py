"""Does what takes longer than a request, or that nobody asked for: jobs, and looks at systems whose readings have come.

Work stands in a durable queue in the database (procrastinate): it is begun at least once, of one name by one worker at
a time, and what it does is the same however often it is done. A worker that dies is missed within half a minute, and
its work begun by another.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import procrastinate
from procrastinate import PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Status
from ray import serve
from sqlalchemy import make_url

from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from serve_app.jobs import Jobs
from serve_app.replicas.graph_ports import reach
from serve_app.shared import logs
from serve_app.store.repository import Store
from serve_app.store.tables import QUEUE

# Systems that are looked at together. Source: own choice; as many as fill a micro-batch of the ensemble.
TOGETHER = 16
# Seconds between looks for work that nobody told of, as it was locked, or waited for its like to end; until a silent
# worker is missed; between its beats; and for what it does to end when it is to stop. Source: own choices; a look at an
# empty queue takes less than a millisecond.
POLL_S, MISSED_S, BEATS_S, ENDING_S = 0.25, 30.0, 10.0, 10.0
# Attempts of one piece of work, and the pause after the first, doubled each time. Source: own choice; a replica that is
# replaced is back within a minute, and the next readings ask again.
ATTEMPTS, PAUSE_S = 6, 2.0
# Jobs at the same time, and files of those that take long to read: each is a process with the memory of the settings.
# Source: own choices; requests must have the other cores.
JOBS, FILES = 2, 1
LOOK_S = 120.0  # for one look; source: own choice, some fifty times what it takes
# Has systems that are overdue looked at, and when. Source: own choice; once a minute.
OVERDUE, EACH_MINUTE = "SELECT public.hdx_watch_overdue()", "* * * * *"
REST_S = 5.0  # before a worker that failed goes on; source: own choice


def queue_of(url: str) -> procrastinate.App:
    """Return the queue in the database of an address, which its owner alone may enter."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = f"-c search_path={QUEUE},pg_catalog -c statement_timeout=30000"
    limits = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 30}  # as missed as a silent worker
    connector = PsycopgConnector(conninfo=address, kwargs={"options": options, **limits}, min_size=1, max_size=8)
    return procrastinate.App(connector=connector)


class QueueWorker:
    """Takes work from the queue for as long as it runs.

    Args:
        url: Of the database.
        look: Judges what a system of a tenant has sent.
        together: Pieces of work at the same time.
        jobs: Does them, where this worker does any.
    """

    def __init__(
        self,
        url: str,
        look: Callable[[int, int], Awaitable[None]],
        together: int = TOGETHER,
        jobs: Jobs | None = None,
    ) -> None:
        self.queue, self._jobs = queue_of(url), jobs
        self._queues = {"hdx": together} | ({} if jobs is None else {"hdx-job": JOBS, "hdx-file": FILES})
        for name in ("job", "file"):
            self.queue.task(name=name, queue=f"hdx-{name}")(self._work)

        # What is done by the clock keeps the library watching its own beats, too: without, one that fails is the last.
        @self.queue.periodic(cron=EACH_MINUTE)
        @self.queue.task(name="overdue", queue="hdx", queueing_lock="overdue")
        async def overdue(timestamp: int) -> None:
            await self.queue.connector.execute_query_async(OVERDUE)

        # Tried again here: the queue could not take it back where more of its name waits already.
        @self.queue.task(name="watch", queue="hdx")
        async def watch(tenant_id: int, system_id: int) -> None:
            for attempt in range(ATTEMPTS):
                try:
                    await look(tenant_id, system_id)
                except asyncio.CancelledError:  # this worker is to stop: the next one does it
                    name = f"watch:{tenant_id}:{system_id}"
                    with suppress(AlreadyEnqueued):
                        again = watch.configure(lock=name, queueing_lock=name)
                        await again.defer_async(tenant_id=tenant_id, system_id=system_id)
                    raise
                except Exception as error:
                    logs.write("watch.failed", logging.WARNING, error, system_id=system_id, attempt=attempt)
                    await asyncio.sleep(PAUSE_S * 2**attempt)
                else:
                    return

    async def _work(self, tenant_id: int, job_id: str) -> None:
        if self._jobs is not None:
            with logs.surviving("job.unheard", job_id=job_id):
                await self._jobs.work(tenant_id, UUID(job_id))

    async def run(self, wait: bool = True) -> None:
        """Work until it is cancelled, or, where it is not to wait, until nothing is left."""
        async with self.queue.open_async():
            taking = [asyncio.create_task(self._take(*queue, wait)) for queue in self._queues.items()]
            begun = [asyncio.create_task(self._mend()), *taking]
            try:  # not a group of tasks: of what fails while it is ended, that would tell, and not that it was to end
                for task in (await asyncio.wait(taking, return_when=asyncio.FIRST_EXCEPTION))[0]:
                    task.result()
            finally:
                for task in begun:
                    task.cancel()
                await asyncio.gather(*begun, return_exceptions=True)

    async def _take(self, queue: str, together: int, wait: bool) -> None:
        while True:
            await self.queue.run_worker_async(
                queues=[queue],
                concurrency=together,
                wait=wait,
                fetch_job_polling_interval=POLL_S,
                install_signal_handlers=False,
                shutdown_graceful_timeout=ENDING_S,
                delete_jobs="always",
                update_heartbeat_interval=BEATS_S,
                stalled_worker_timeout=MISSED_S,
            )
            if not wait:
                return
            # It ends without a word where what it does beside fails, as its beats, and would leave its queue to nobody.
            logs.write("queue.left", logging.WARNING, queue=queue)
            await asyncio.sleep(POLL_S)

    async def _mend(self) -> None:
        """Have work done that a worker left when it died, or that failed to its end."""
        while True:
            with logs.surviving("queue.unmended"):
                await self.take_back(MISSED_S)
            if self._jobs is not None:
                with logs.surviving("jobs.unmended"):
                    await self._jobs.look_after()
            await asyncio.sleep(BEATS_S)

    async def take_back(self, silent_s: float) -> None:
        """Put work back into the queue whose worker has been silent for so long."""
        manager = self.queue.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=silent_s):
            logs.write("queue.taken_back", logging.WARNING, None, task=job.task_name)
            with logs.surviving("queue.unmended", task=job.task_name):
                try:
                    await manager.retry_job(job)
                except ConnectorException:  # more of its name waits, and does what it did
                    if job.id is None:
                        raise
                    await manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)


@serve.deployment
class Worker:
    """Takes work from the queue, and has the gateway's own parts do it: they hold all that it needs."""

    def __init__(self, settings: Settings, gateway: str) -> None:
        keep_to_node_address()
        logs.configure(settings)
        if settings.database.url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        # By name, as the gateway itself is made with this part.
        self._gateway = serve.get_deployment_handle(gateway, serve.get_replica_context().app_name)
        url = settings.database.url.get_secret_value()
        jobs = Jobs(Store.open(url, 2 * (JOBS + FILES), settings.database.waits), settings.limits)
        self._worker = QueueWorker(url, self._look, jobs=jobs)
        self._running: asyncio.Task[None] | None = None

    async def check_health(self) -> None:
        """Keep working; Ray calls this first when the replica starts."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._go_on())

    async def _look(self, tenant_id: int, system_id: int) -> None:
        await reach("gateway", self._gateway.watch.remote(tenant_id, system_id), LOOK_S)

    async def _go_on(self) -> None:
        while True:
            with logs.surviving("queue.waits"):
                await self._worker.run()
            await asyncio.sleep(REST_S)
