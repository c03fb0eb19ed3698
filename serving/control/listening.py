"""Where Ray Serve's own port in a replica listens: on the node's address alone.

Each replica opens a gRPC port for handles that call by gRPC; ours do not. Ray Serve 2.60 opens it on all
addresses and has no setting for it (``ray.serve._private.replica``, ``_on_initialized``).
"""

from __future__ import annotations

from typing import Any

from ray.serve._private import replica


def keep_rays_port_to(host: str) -> None:
    """In this process. To be called before the replica is initialised.

    Raises:
        AttributeError: this Ray opens the port in another way.
    """
    open_port = replica.add_port_to_grpc_server
    name = f"[{host}]" if ":" in host else host

    def on_this_address(server: Any, address: str) -> int:
        return int(open_port(server, f"{name}:{address.rpartition(':')[2]}"))

    replica.add_port_to_grpc_server = on_this_address
