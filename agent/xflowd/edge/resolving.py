"""The addresses of a host's name, looked up in a thread: a name server that does not answer keeps nothing waiting."""

from __future__ import annotations

import socket
import threading

#: Family, and the address as connect() wants it.
Address = tuple[socket.AddressFamily, tuple[str, int]]


class Name:
    """A host and a UDP port. An address needs no thread: its `result` is there at once, and never changes."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._result: list[Address] | str | None = None
        self._lookup: threading.Thread | None = None
        try:
            self._result = _resolve(host, port, socket.AI_NUMERICHOST)
            self.is_address = True
        except (OSError, UnicodeError):
            self.is_address = False

    def look_up(self) -> None:
        """Begin to look the name up, unless that is under way already."""
        if self.is_address or (self._lookup is not None and self._lookup.is_alive()):
            return
        self._lookup = threading.Thread(target=self._look_up, name=f"resolve {self.host}", daemon=True)
        self._lookup.start()

    def wait(self, seconds: float) -> None:
        """Wait for the look-up that is under way, at most so long."""
        if self._lookup is not None:
            self._lookup.join(seconds)

    def result(self) -> list[Address] | str | None:
        """What has been found since the last call, best address first: a list, or why there is none."""
        if self._lookup is not None and self._lookup.is_alive():
            return None
        result, self._result = self._result, None
        return result

    def _look_up(self) -> None:
        try:
            self._result = _resolve(self.host, self.port, 0)
        except (OSError, UnicodeError) as error:
            self._result = getattr(error, "strerror", None) or str(error)


def _resolve(host: str, port: int, flags: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
