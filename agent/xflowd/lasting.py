"""What outlives the agent: its tables, its journal and the outboxes of its collectors, pinned under their names."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import dataclass, replace
from hashlib import sha256

from xflowd.edge import journal, shared, tables
from xflowd.edge.journal import Journal
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions, digest
from xflowd.edge.pins import HeldError, Pins

log = logging.getLogger(__name__)

_JOURNAL, _OUTBOX = "journal", "outbox-"
#: The mend where `ip netns exec` hides the host's BPF file system.
ENTER = "enter the network namespace by nsenter --net=/run/netns/NAME, which leaves mounts as they are"


class TakenError(Exception):
    """Another agent meters this network namespace; the message says which process it is."""


@dataclass(frozen=True, slots=True)
class Table:
    """A flow table and its number among all that the journal has known."""

    number: int
    kernel: Kernel


class Lasting:
    """Everything that the next agent finds when this one is killed. Without a BPF file system it finds nothing."""

    def __init__(self, instance: str) -> None:
        """`instance` names this network namespace's agent. Raises TakenError."""
        self.pins = _pins(instance)
        self.journal = Journal(self.memory(_JOURNAL, journal.OCTETS))
        if self.journal.is_strange:
            log.error(
                "the journal that an earlier agent has left cannot be read: totals and sequence numbers begin anew"
            )
        self._numbers = tables.numbers(self.pins) if self.pins else []
        #: Whether an agent before this one has left anything.
        self.found = bool(self._numbers)

    def tables(self, options: LoadOptions) -> tuple[list[Table], Table]:
        """The tables that have to be emptied, oldest first, and the one to meter into: found or new."""
        remembered = self.journal.remembered("meter")
        first = remembered["table"] if remembered else 0
        for number in [number for number in self._numbers if number < first]:
            self.remove_table(number)  # it was emptied and counted to its end
        found = [table for number in self._numbers if (table := self._found(number))]
        if found and _is_same(found[-1].kernel, options):
            return found[:-1], found[-1]
        return found, self.new_table(options, max([first, *self._numbers], default=0) + 1)

    def new_table(self, options: LoadOptions, number: int) -> Table:
        """Load a table. Raises LoadError."""
        kernel = Kernel(options)
        kernel.start_sampling_anywhere()
        if self.pins:
            tables.pin(self.pins, kernel.loaded, number)
        return Table(number, kernel)

    def remove_table(self, number: int) -> None:
        """Let go of a table that is empty."""
        if self.pins:
            tables.remove(self.pins, number)

    def memory(self, name: str, octets: int) -> memoryview:
        """Shared memory by its name, as it was left, or new and all zero."""
        if self.pins and name in self.pins.names():
            descriptor = self.pins.get(name)
            try:
                memory, _ = shared.mapped(descriptor)
            finally:
                os.close(descriptor)
            if len(memory) == shared.stride(octets):
                return memory
            log.warning("%s of an earlier agent has another size: it begins anew", name)
            self.pins.unpin(name)
        return self._new_memory(name, octets)

    def outbox(self, identity: str, octets: int) -> memoryview:
        """The memory of a collector's outbox."""
        return self.memory(_outbox_name(identity), octets)

    def remove_outbox(self, identity: str) -> None:
        """Let go of the outbox of a collector that is not one any more."""
        if self.pins:
            self.pins.unpin(_outbox_name(identity))

    def remove(self) -> None:
        """Leave nothing behind."""
        if self.pins:
            self.pins.remove()

    def leave(self) -> None:
        """Leave everything to the next agent."""
        if self.pins:
            self.pins.close()

    def _new_memory(self, name: str, octets: int) -> memoryview:
        descriptor = shared.create(name, octets)
        try:
            if self.pins:
                self.pins.pin(descriptor, name)
            return shared.mapped(descriptor)[0]
        finally:
            os.close(descriptor)

    def _found(self, number: int) -> Table | None:
        """A table that was left; one that this version cannot read is given up, and that is said."""
        assert self.pins
        try:
            return Table(number, Kernel(tables.get(self.pins, number)))
        except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
            log.error("the flow table that an earlier agent has left cannot be read, its flows are lost: %s", error)
            self.remove_table(number)
            return None


def _is_same(kernel: Kernel, options: LoadOptions) -> bool:
    """Whether a table is what loading with these options would make, but for the number of buckets."""
    return kernel.loaded.digest == digest() and replace(options, buckets=kernel.options.buckets) == kernel.options


def _outbox_name(identity: str) -> str:
    return _OUTBOX + sha256(identity.encode()).hexdigest()[:16]


def _fault(error: OSError) -> str:
    """What is in the way of the pins, where, and how to mend it."""
    path, why = str(error.filename or "/sys/fs/bpf"), error.strerror or str(error)
    if path.startswith("/proc/1/root/"):  # `ip netns exec` hides the host's
        mend = ENTER
    elif error.errno in (errno.EACCES, errno.EPERM) and path.endswith("/xflowd"):
        mend = "run as root, or let root give the directory to the agent's user"
    else:
        mend = "mount -t bpf bpf /sys/fs/bpf, outside"
    return f"{path}: {why}: {mend}"


def _pins(instance: str) -> Pins | None:
    try:
        pins = Pins(instance)
    except HeldError as error:
        pid = "PID" if str(error) == "?" else str(error)
        mend = f"stop it (kill {pid}), or change its file and let it read that again (kill -HUP {pid})"
        raise TakenError(f"process {error} meters this network namespace already: {mend}") from None
    except OSError as error:
        log.warning("nothing will outlive this agent, a kill loses the flows in the table: %s", _fault(error))
        return None
    if pins.is_private:
        mend = "mount -t bpf bpf /sys/fs/bpf, outside"
        log.warning("nothing will outlive this agent: its BPF file system is in mounts of its own: %s", mend)
    return pins
