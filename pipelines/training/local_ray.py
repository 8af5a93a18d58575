"""Starts Ray on this machine alone, for as long as one offline step needs it.

It uses every core, opens no dashboard and no port that others reach, and leaves no process behind.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def local_ray(workers: int, store_bytes: int | None = None) -> Iterator[Any]:
    """Start Ray on loopback and quietly, and stop it at the end; yield the library.

    Args:
        workers: Processes that work at once.
        store_bytes: Of its shared memory; Ray's own choice when None.
    """
    # Ray reads these as it is imported; the second is its switch for loopback alone.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
    import ray
    import ray.data

    ray.init(
        address="local",
        num_cpus=workers,
        object_store_memory=store_bytes,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
