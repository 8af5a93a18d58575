"""Tells, on every hop of the graph, a replica that was stopped in the middle of a call from a caller that left."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ray.serve.exceptions import RayServeException


@contextmanager
def replica_may_stop() -> Iterator[None]:
    """Fail as a lost replica does where the other side cancelled its work, and nobody cancelled the caller.

    Source: Ray 2.60 hands the `CancelledError` of a replica that is being stopped to its callers as it is
    (`_wrap_grpc_call` in `ray/serve/_private/replica.py`); no `except Exception` sees it: the client gets a bare 500.

    Raises:
        RayServeException: The replica was stopped.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RayServeException("the replica was stopped") from None
