"""`xflowd collect`: flows of any exporter on the terminal, for a first look. It keeps nothing."""

from __future__ import annotations

import ipaddress
import logging
import select
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import FrameType

import numpy as np
import numpy.typing as npt

from xflowd.config import ConfigError, Endpoint, Problem
from xflowd.config.problem import shown as printable
from xflowd.config.values import Address, UnacceptableError
from xflowd.edge.terminal import JsonLines, Table
from xflowd.edge.terminal.output import require_written
from xflowd.notices import Notice, counted
from xflowd.printing import output
from xflowd.wire.decoder import Decoder, DecoderCounters
from xflowd.wire.elements import VARIABLE_LENGTH
from xflowd.wire.message import MalformedMessage, Records
from xflowd.wire.template import Field
from xflowd.wire.times import flow_times

log = logging.getLogger(__name__)

DEFAULT_PORTS = (2055, 4739)  # where NetFlow is sent as a rule, and IPFIX (RFC 7011 10.3.4)
_RECEIVE_BUFFER = 16 << 20  # octets; the kernel gives what net.core.rmem_max allows
_LONGEST_DATAGRAM = 65_535
_LOOK_UP_SECONDS = 0.5  # how long a signal may wait for the next datagram
_TIMES = ("flowStartMilliseconds", "flowEndMilliseconds")

Column = npt.NDArray[np.generic]


def run(listen: str, style: str) -> int:
    """Listen until SIGINT or SIGTERM, or until the output takes no more. The exit code."""
    endpoint = _endpoint(listen)
    with ExitStack() as held:
        ports = (endpoint.port,) if endpoint.port else DEFAULT_PORTS
        receiving = [held.enter_context(_listening(endpoint.host, port)) for port in ports]
        for one in receiving:
            log.info("listening on %s port %d", *one.getsockname()[:2])
        collecting = Collecting(output(style))
        for datagram, exporter in _datagrams(receiving, collecting):
            collecting.take(datagram, exporter)
    for line in told(collecting.decoder.counters):
        log.info("%s", line)
    require_written()
    return 0


class Collecting:
    """A decoder, and where its flows are printed."""

    def __init__(self, printed: Table | JsonLines) -> None:
        self.decoder = Decoder()
        self.printed = printed
        self._notice = Notice()

    def take(self, datagram: bytes, exporter: tuple[str, int]) -> None:
        """Print the flows in a datagram. What cannot be read is counted."""
        try:
            decoded = self.decoder.decode(datagram, exporter)
        except MalformedMessage:  # counted by its reason
            return
        for records in _by_template(decoded):
            self.printed.write(shown(records, exporter[0]))

    def report(self, now_ns: int) -> None:
        """Say what was lost or not understood, where that has changed, once a minute at most."""
        self._notice.tell("; ".join(list(told(self.decoder.counters))[1:]), now_ns)


def shown(records: Records, exporter: str) -> npt.NDArray[np.void]:
    """The records as they are printed: with times of the wall clock, and with who sent them."""
    pairs = zip(records.template.names, records.template.all_fields, strict=True)
    columns = {name: _readable(records, name, field) for name, field in pairs if field.octets}
    count, address = len(records.array), ipaddress.ip_address(exporter)
    packed = np.frombuffer(address.packed, np.uint8)
    columns[f"exporterIPv{address.version}Address"] = np.broadcast_to(packed, (count, len(packed)))
    columns["observationDomainId"] = np.full(count, records.observation_domain, np.uint32)
    for name, times in zip(_TIMES, flow_times(records) or (), strict=False):
        columns[name] = np.maximum(times // 10**6, 0).astype(np.uint64)
    return _joined(columns, count)


def told(counters: DecoderCounters) -> Iterator[str]:
    """What came in, and then what of it was lost or not understood, a line each."""
    records = f"{counted(counters.flow_records, 'flow')}, {counted(counters.options_records, 'options record')}"
    yield f"{counted(counters.datagrams, 'datagram')}, {records}"
    units = {5: "flow", 9: "datagram", 10: "data record"}
    for version, lost in counters.lost.items():
        if lost:
            yield f"lost by sequence: {counted(lost, units[version])} of version {version}"
    if counters.sets_without_template:
        yield f"{counted(counters.sets_without_template, 'set')} of records came without a template"
    if counters.out_of_order:
        yield f"{counted(counters.out_of_order, 'datagram')} came out of order"
    if counters.restarts:
        yield f"exporters began anew {counted(counters.restarts, 'time')}"
    for reason, count in counters.malformed.items():
        yield f"{counted(count, 'time')} malformed: {reason}"
    for what, count in counters.pushed_out.items():
        yield f"{count:,} {what} forgotten for lack of room"


def address_of(sender: str) -> str:
    """The address of who sent a datagram, as a socket tells it: without its zone, IPv4 as IPv4."""
    address = ipaddress.ip_address(sender.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def _by_template(decoded: Iterable[Records]) -> Iterator[Records]:
    """Flows of one template as one: ten thousand sets of a record each cost no more than one set of them."""
    groups: dict[int, list[Records]] = {}
    for records in decoded:
        if not records.is_options:
            groups.setdefault(id(records.template), []).append(records)
    for first, *more in groups.values():
        yield replace(first, array=np.concatenate([first.array, *(each.array for each in more)])) if more else first


def _readable(records: Records, name: str, field: Field) -> Column:
    """A column as it is printed: IPv4 addresses as four octets, numbers of any width, else text where it varies."""
    column, kind = records.array[name], field.element.type
    if field.octets == VARIABLE_LENGTH:
        is_text = kind == "string"
        texts = [value.decode(errors="replace") if is_text else value.hex() for value in column.tolist()]
        return np.array(texts, object)
    if kind == "ipv4Address":
        return np.ascontiguousarray(column).view(np.uint8).reshape(-1, field.octets)
    if column.ndim == 2 and kind.startswith(("unsigned", "dateTime")):
        return records.numbers(name)
    return column


def _joined(columns: dict[str, Column], count: int) -> npt.NDArray[np.void]:
    result = np.zeros(count, [(name, np.dtype((column.dtype, column.shape[1:]))) for name, column in columns.items()])
    for name, column in columns.items():
        result[name] = column
    return result


def _datagrams(receiving: list[socket.socket], collecting: Collecting) -> Iterator[tuple[bytes, tuple[str, int]]]:
    """What comes in, with the address of who sent it, until a signal or the end of the output."""
    stopped: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped and not collecting.printed.closed:
            collecting.report(time.monotonic_ns())
            for one in select.select(receiving, [], [], _LOOK_UP_SECONDS)[0]:
                with suppress(BlockingIOError):  # its checksum was wrong
                    datagram, sender = one.recvfrom(_LONGEST_DATAGRAM)
                    yield datagram, (address_of(sender[0]), sender[1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _endpoint(text: str) -> Endpoint:
    try:
        endpoint = Address(local=True).parse(text)
    except UnacceptableError as error:
        raise ConfigError([Problem(f"--listen {printable(text)}", error.what, error.mend)]) from None
    return endpoint or Endpoint("::")


def _listening(host: str, port: int) -> socket.socket:
    """A socket there; on `::` it takes IPv4 too, where the host has IPv6 at all."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    receiving = socket.socket(family, socket.SOCK_DGRAM)
    try:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            receiving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiving.bind((host, port))
        receiving.setblocking(False)
    except OSError as error:
        receiving.close()
        raise OSError(error.errno, f"{error.strerror}: choose another with --listen", f"{host} port {port}") from None
    return receiving
