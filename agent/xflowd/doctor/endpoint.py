"""[metrics]: whether the endpoint can be had, and who reaches it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.exposing import DEFAULT_PORT
from xflowd.lacking import without_client

_PATIENCE_SECONDS = 2.0


def check(situation: Situation) -> Iterator[Finding]:
    """Nothing to say but that where no address is given."""
    listen = situation.config.metrics.listen
    if listen is None:
        yield good("metrics", "no endpoint is configured")
        return
    if lack := without_client():
        yield bad("metrics", f"{lack.what}: the agent will not start", lack.mend)
    if not ipaddress.ip_address(listen.host.partition("%")[0]).is_loopback:
        what = f"whoever reaches {listen} reads the figures: there is no password"
        yield warning("metrics", what, "listen = 127.0.0.1, or let the firewall pass your Prometheus alone")
    if situation.status:
        yield _answering(listen.host, listen.port or DEFAULT_PORT)


def _answering(host: str, port: int) -> Finding:
    place = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((place, port), _PATIENCE_SECONDS).close()
    except OSError as error:
        what = f"nobody answers at port {port} of {place}: {error.strerror or error}"
        return bad("metrics", what, "systemctl reload xflowd, and see its log")
    return good("metrics", f"answered at port {port} of {place}")
