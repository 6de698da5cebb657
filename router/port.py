"""Ports that a router shares with the one that takes over from it, and with nobody else."""

import socket

from common.errors import ConfigError

BACKLOG = 2048


def check_port_is_free(host: str, port: int) -> None:
    """Make sure that a port which may be shared is not shared with a stranger.

    Raises:
        ConfigError: The address is taken or not ours.
    """
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)


def bind_shared(host: str, port: int) -> socket.socket:
    """Listen at a port that another process of ours may listen at too.

    Raises:
        ConfigError: The address is taken or not ours.
    """
    # asyncio sets TCP_NODELAY where the protocol is named; else each event would wait for the
    # acknowledgement of the one before, up to 40 ms.
    listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(listener, host, port)
    except ConfigError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind(listener: socket.socket, host: str, port: int) -> None:
    try:
        listener.bind((host, port))
    except OSError as cause:
        raise ConfigError(f"Cannot listen on {host}:{port}; is the port in use?") from cause
