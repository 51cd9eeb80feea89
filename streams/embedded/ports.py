"""Free ports on loopback for servers that are stopped and started again on the same port.

Must not know which server a port is for.
"""

import random
import socket
from collections.abc import Collection
from pathlib import Path

from streams.errors import Refused

LOWEST = 20000
HIGHEST = 65535
TRIES = 200
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_LOWEST = 32768
"""Linux's default, where the setting can't be read."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as listener:
        # As servers do: connections of a former life that linger in TIME_WAIT don't count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int] = ()) -> int:
    """A port that nobody listens on, below the ephemeral range, and none of those that are `taken` in advance.

    From that range the kernel gives ports to outgoing connections, so a client that keeps trying to reach a stopped
    server could be given the server's own port, connect to itself, and keep the server from coming back. Another
    process may still take the port before it is used: the caller tries again. Raises Refused when none is found.
    """
    for _ in range(TRIES):
        port = random.randrange(LOWEST, _ephemeral_lowest())  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise Refused(f"no free port found on loopback between {LOWEST} and {_ephemeral_lowest()}")


def _ephemeral_lowest() -> int:
    try:
        lowest = int(EPHEMERAL.read_text().split()[0])
    except OSError:
        lowest = EPHEMERAL_LOWEST
    # A machine that gives away nearly all ports leaves no choice but to take part in the race.
    return lowest if lowest > LOWEST + TRIES else EPHEMERAL_LOWEST
