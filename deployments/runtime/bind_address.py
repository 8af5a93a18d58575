"""Binds a replica's server for calls between deployments to its node's address, before it listens."""

from typing import Any

import ray
from ray.serve._private import replica

BINDER = "add_port_to_grpc_server"


def keep_to_node_address() -> None:
    """Bind the server for calls between deployments to the address of its node: loopback on a laptop.

    Source: Ray 2.60 binds it to `[::]` whatever address the node has, and without token authentication it takes pickled
    calls from anyone (`ray/serve/_private/replica.py`, `add_port_to_grpc_server`). There is no public setting; a test
    that lists every listener notices when this no longer holds.
    """
    bind, address = getattr(replica, BINDER), ray.util.get_node_ip_address()

    def bind_here(server: Any, _everywhere: str) -> int:
        port: int = bind(server, f"{address}:0")
        return port

    setattr(replica, BINDER, bind_here)
