"""Proves that a collector that fails costs what its outbox cannot hold and no more: real sockets, time an argument."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from wire_helpers import NOW, NS_PER_S, after, flow, flows, many

from xflowd.collectors import CollectorSink, drain
from xflowd.config import Collector, ExportProtocol, Sampling
from xflowd.config.values import Endpoint
from xflowd.edge import resolving
from xflowd.edge.outbox import LEAST_OCTETS
from xflowd.edge.sending import BUFFER_FULL, NO_NAME, REFUSED, TOO_LONG, Destination, Outcome
from xflowd.metering.instant import Instant

LOCAL = "127.0.0.1"
MS = 10**6
IPV6 = flow("2001:db8::1", "2001:db8::2")
#: Octets of the sets of templates: version 9 has ID 0 for them, IPFIX 2.
TEMPLATE_SET = {"netflow9": 0, "ipfix": 2}


class Receiver:
    """A UDP socket that reads what has arrived, and no more."""

    def __init__(self, port: int = 0, host: str = LOCAL) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.senders: list[tuple[str, int]] = []

    def read(self) -> list[bytes]:
        """Loopback delivers before send() returns: what was sent is here."""
        datagrams = []
        while True:
            try:
                datagram, sender = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return datagrams
            datagrams.append(datagram)
            self.senders.append(sender[:2])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def closed_port() -> int:
    """A port that nobody listens on."""
    made = Receiver()
    made.close()
    return made.port


@contextmanager
def sink(port: int, memory: int | bytearray = 1 << 20, host: str = LOCAL, **config: Any) -> Iterator[CollectorSink]:
    made = CollectorSink(
        Collector(
            "main", Endpoint(host, port), **({"protocol": ExportProtocol.IPFIX, "observation_domain": 7} | config)
        ),
        Sampling(),
        bytearray(memory) if isinstance(memory, int) else memory,
    )
    try:
        yield made
    finally:
        made.close()


def take(to: CollectorSink, ended: np.ndarray, now: Instant) -> None:
    """One transaction whose journal never fails."""
    to.ready(now)
    to.take(ended, now)
    json.dumps(to.state())
    to.commit()


def push_all(to: CollectorSink, now: Instant, seconds: float = 5) -> Instant:
    """Call push() as often as it wants, on a clock of our own, at most so long."""
    until = after(seconds, now).monotonic_ns
    while (next_ns := to.push(now)) is not None and next_ns <= until:
        assert next_ns > now.monotonic_ns
        now = Instant(next_ns, now.unix_ns + next_ns - now.monotonic_ns)
    return now


def octets(records: list[bytes]) -> Counter[int]:
    """octetDeltaCount of every IPv4 flow in IPFIX messages."""
    found: Counter[int] = Counter()
    for message in records:
        for set_id, content in sets(message):
            if set_id == 1004:
                found.update(struct.unpack_from(">Q", content, at + 28)[0] for at in range(0, len(content), 92))
    return found


def sets(message: bytes, header: int = 16) -> Iterator[tuple[int, bytes]]:
    at = header
    while at < len(message):
        set_id, length = struct.unpack_from(">HH", message, at)
        yield set_id, message[at + 4 : at + length]
        at += length


def has_templates(message: bytes) -> bool:
    return any(set_id == 2 for set_id, _ in sets(message))


def sequence(message: bytes) -> int:
    return int(struct.unpack_from(">I", message, 8)[0])


def assert_sequence(messages: list[bytes]) -> None:
    """Each message begins where the one before ended (RFC 7011 3.1): data records, options too."""
    size = {1004: 92, 1006: 128, 1010: 24, 1011: 40, 1012: 44}
    expected = sequence(messages[0])
    for message in messages:
        assert sequence(message) == expected
        expected += sum(len(content) // size[set_id] for set_id, content in sets(message) if set_id >= 256)


def test_a_small_tick_goes_at_once(receiver: Receiver) -> None:
    with sink(receiver.port) as to:
        take(to, many(100), NOW)
        assert receiver.read() == [], "nothing is sent before push"
        assert to.push(NOW) is None
        sent = receiver.read()
        assert has_templates(sent[0])
        assert octets(sent) == Counter(range(1000, 1100))
        status = to.status(after(3))
        assert (status["flows_exported"], status["datagrams_sent"]) == (100, len(sent))
        assert status["octets_sent"] == sum(map(len, sent))
        assert status["templates_sent_seconds_ago"] == 3


def test_a_large_tick_is_spread_over_half_a_second(receiver: Receiver) -> None:
    with sink(receiver.port) as to:
        take(to, many(8000), NOW)
        now, bursts, steps = NOW, [], []
        while True:
            next_ns = to.push(now)
            bursts.append(len(receiver.read()))
            if next_ns is None:
                break
            steps.append(next_ns - now.monotonic_ns)
            now = after(0.01, now)
        assert set(steps) == {10 * MS}
        assert max(bursts) == -(-sum(bursts) // 50)
        assert 0.4 * NS_PER_S < now.monotonic_ns - NOW.monotonic_ns < 0.6 * NS_PER_S


def test_called_too_early_nothing_is_sent(receiver: Receiver) -> None:
    with sink(receiver.port) as to:
        take(to, many(1000), NOW)
        to.push(NOW)
        before = len(receiver.read())
        assert to.push(after(0.009)) == after(0.01).monotonic_ns
        assert (before, receiver.read()) == (8, [])


def test_a_name_that_does_not_resolve_keeps_flows_until_it_does(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, str] = {}
    resolve_by(monkeypatch, names)
    with sink(receiver.port, host="collector.test") as to:
        now = NOW
        for second in range(10):
            now = after(second)
            take(to, many(5), now)
            looked_up(to)
            push_all(to, now, 0.9)
        status = to.status(now)
        assert status["waiting_datagrams"] == 10
        assert status["flows_exported"] == 0
        assert status["trouble"] == NO_NAME
        assert status["errors"][NO_NAME] == 2, "looked up again every five seconds"
        names["collector.test"] = LOCAL
        for second in (10, 11):
            now = push_all(to, after(second), 0.9)
            looked_up(to)
        push_all(to, after(12))
        sent = receiver.read()
        assert octets(sent) == Counter({1000 + number: 10 for number in range(5)})
        assert has_templates(sent[0])
        assert_sequence(sent)
        assert to.status(now)["trouble"] is None


def test_an_address_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up again after five minutes: another socket, templates at once, and both are known as our own traffic."""
    old, names = Receiver(), {"collector.test": LOCAL}
    new = Receiver(old.port, "127.0.0.2")
    resolve_by(monkeypatch, names)
    with sink(old.port, host="collector.test") as to:
        to.ready(NOW)
        looked_up(to)
        take(to, many(3), NOW)
        push_all(to, NOW)
        assert len(old.read()) == 1
        names["collector.test"] = "127.0.0.2"
        take(to, many(3), after(10))
        push_all(to, after(10))
        assert len(old.read()) == 1, "nothing asks again as long as all is well"
        to.push(after(301))
        looked_up(to)
        to.push(after(302))
        take(to, many(3), after(302))
        push_all(to, after(302))
        (sent,) = new.read()
        assert has_templates(sent)
        assert old.read() == []
        assert new.senders[0][1] == old.senders[0][1], "the port by which collectors tell exporters"
        exports = [export(address, new.senders[0][1], old.port) for address in (LOCAL, "127.0.0.2")]
        assert to.own_traffic(flows(*exports, flow())).tolist() == [True, True, False]
        assert to.status(after(302))["resolved_address"] == "127.0.0.2"
    old.close()
    new.close()


def test_a_name_server_that_is_gone_leaves_the_address_as_it_was(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"collector.test": LOCAL}
    resolve_by(monkeypatch, names)
    with sink(receiver.port, host="collector.test") as to:
        to.ready(NOW)
        looked_up(to)
        names.clear()
        for at in (0, 301, 302):
            take(to, many(1), after(at))
            push_all(to, after(at))
            looked_up(to)
        assert len(receiver.read()) == 3
        assert to.status(after(302))["errors"] == {NO_NAME: 1}


def test_of_several_addresses_the_first_that_there_is_a_route_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by(monkeypatch, {"collector.test": ["224.0.0.1.1", "255.255.255.255", LOCAL]})
    with sink(receiver.port, host="collector.test") as to:
        to.ready(NOW)
        looked_up(to)
        take(to, many(1), after(1))
        push_all(to, after(1))
        assert len(receiver.read()) == 1
        assert to.status(NOW)["resolved_address"] == LOCAL


def test_ipv6() -> None:
    receiver = Receiver(0, "::1")
    with sink(receiver.port, host="::1") as to:
        take(to, many(1), NOW)
        push_all(to, NOW)
        assert len(receiver.read()) == 1
        assert to.status(NOW)["address"] == f"[::1]:{receiver.port}"
        take(to, many(1), after(1))
        receiver.close()
        push_all(to, after(1))
        to.push(after(2))
        assert to.status(after(2))["errors"] == {REFUSED: 1}


def test_a_collector_that_starts_late_has_templates_four_seconds_later() -> None:
    port = closed_port()
    with sink(port) as to:
        for second in range(10):
            take(to, many(1), after(second))
            push_all(to, after(second))
        status = to.status(after(9))
        assert (status["datagrams_sent"], status["errors"]) == (10, {REFUSED: 9}), "sending goes on"
        assert status["trouble"] == status["last_error"]["text"] == REFUSED
        receiver = Receiver(port)
        seen = []
        for second in range(10, 20):
            take(to, many(1), after(second))
            push_all(to, after(second))
            seen.append([has_templates(each) for each in receiver.read()])
        receiver.close()
        assert seen.index([True]) <= 4
        assert sum(map(sum, seen)) == 1
        assert to.status(after(20))["trouble"] is None


def test_in_a_quiet_network_a_closed_port_gets_no_more_than_its_templates() -> None:
    """Else our own datagrams, metered as flows, would be a reason to send the next ones, for ever."""
    with sink(closed_port()) as to:
        for second in range(600):
            take(to, flows(), after(second))
            push_all(to, after(second))
        assert to.outbox.sent_datagrams <= 600 // 59 + 2


def test_a_datagram_that_is_too_long_is_dropped_and_counted(receiver: Receiver) -> None:
    with sink(receiver.port) as to:
        to.ready(NOW)
        to.outbox.put(bytes(65_508))
        take(to, many(1), NOW)
        push_all(to, NOW)
        assert len(receiver.read()) == 1
        status = to.status(NOW)
        assert status["datagrams_dropped"] == {"longer than the path allows": 1}
        assert status["errors"] == {TOO_LONG: 2}
        assert to.outbox.dropped_datagrams == 1


def test_a_full_queue_is_counted_by_flows_and_leaves_no_gap_in_the_sequence(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, str] = {}
    resolve_by(monkeypatch, names)
    with sink(receiver.port, LEAST_OCTETS, host="collector.test") as to:
        for second in range(20):
            take(to, np.concatenate([many(40), many(20, IPV6)]), after(second))
            looked_up(to)
            push_all(to, after(second), 0.5)
        status = to.status(after(20))
        unsent = status["flows_not_sent"]["queue full"]
        assert 0 < unsent < 20 * 60
        assert status["waiting_octets"] > 0.9 * LEAST_OCTETS, "the room is used"
        names["collector.test"] = LOCAL
        for second in (20, 25, 26, 27):
            take(to, flows(), after(second))
            push_all(to, after(second))
            looked_up(to)
        sent = receiver.read()
        assert_sequence(sent)
        status = to.status(after(27))
        assert status["flows_exported"] + unsent == 20 * 60
        assert status["datagrams_dropped"] == {}


def test_what_waits_is_sent_at_once_when_room_is_needed(receiver: Receiver) -> None:
    """Pacing gives way before loss: each tick here is more than half of what the outbox holds."""
    with sink(receiver.port, LEAST_OCTETS * 2) as to:
        for second in range(10):
            take(to, many(800), after(second / 100))
            to.push(after(second / 100))
        push_all(to, after(1))
        assert to.status(after(1))["flows_not_sent"] == {}
        assert octets(receiver.read()) == Counter({1000 + number: 10 for number in range(800)})


@pytest.mark.parametrize("protocol", list(ExportProtocol))
@pytest.mark.parametrize("octets_", [LEAST_OCTETS, 300_000, 1 << 20])
@pytest.mark.parametrize("payload", [512, 1400, 1472, 9000])
@pytest.mark.parametrize("kind", [flow(), IPV6])
def test_a_portion_always_fits(protocol: ExportProtocol, octets_: int, payload: int, kind: np.ndarray) -> None:
    with sink(closed_port(), octets_, protocol=protocol, max_payload=payload) as to:
        to.interfaces = {index: f"eth{index}" for index in range(1, 40)}
        assert to.portion > 0.6 * octets_ / 136 - 100
        mixed = np.concatenate([many(to.portion // 3), many(to.portion - to.portion // 3, kind)])
        take(to, mixed, NOW)
        assert to.unsent == {}
        if protocol is not ExportProtocol.NETFLOW5:
            assert to.process.counters.exported_flow_record_total_count == to.portion


def test_statistics_are_of_what_was_sent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """exportedMessageTotalCount and the like (IANA 40 to 42): what waits is not among them."""
    names: dict[str, str] = {}
    resolve_by(monkeypatch, names)
    with sink(receiver.port, host="collector.test") as to:
        take(to, many(50), NOW)
        to.process.announce_again()
        take(to, many(50), after(1))
        names["collector.test"] = LOCAL
        to.push(after(6))
        looked_up(to)
        push_all(to, after(6))
        sent = receiver.read()
        to.process.announce_again()
        take(to, flows(), after(10))
        push_all(to, after(10))
        (last,) = receiver.read()
    told = [content for message in [*sent, last] for set_id, content in sets(message) if set_id == 1012]
    totals = [struct.unpack_from(">QQQ", content, 4) for content in told]
    assert totals == [(0, 0, 0), (0, 0, 0), (len(sent), 100, sum(map(len, sent)))]


def test_a_successor_goes_on_with_sequence_counters_and_port(receiver: Receiver) -> None:
    memory = bytearray(1 << 18)
    with sink(receiver.port, memory) as first:
        take(first, many(500), NOW)
        first.push(NOW)
        journal = json.dumps(first.state())
        identity = first.identity
        first.take(many(100), after(1))  # and then it is killed: its journal has nothing of this
        first.destination.close()
    before = receiver.read()
    with sink(receiver.port, memory) as second:
        assert second.identity == identity
        second.restore(json.loads(journal))
        assert len(second.outbox) + len(before) == second.process.counters.exported_message_total_count
        take(second, many(10), after(2))
        push_all(second, after(2))
        rest = receiver.read()
        assert octets(before + rest) == Counter(range(1000, 1500)) + Counter(range(1000, 1010))
        assert_sequence(before + rest)
        assert has_templates(rest[-1])
        assert len(set(receiver.senders)) == 1
        assert second.status(NOW)["flows_exported"] == 510


@pytest.mark.parametrize("state", [{}, {"written": "x"}, {"written": None, "process": 3}])
def test_a_journal_that_is_not_understood_is_no_end(
    receiver: Receiver, state: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with sink(receiver.port) as to:
        to.restore(state)
        take(to, many(10), NOW)
        push_all(to, NOW)
        assert sum(octets(receiver.read()).values()) == 10
    assert "begins anew" in caplog.text


def test_drain_ends_when_all_is_sent_and_counts_what_is_not(receiver: Receiver) -> None:
    with sink(receiver.port) as one, sink(9, host="collector.invalid") as other:
        for each in (one, other):
            each.take(many(1000), NOW)
            each.commit()
        clock = iter(after(step / 100) for step in range(1000))
        drain([one, other], lambda: next(clock), 1.0)
        assert sum(octets(receiver.read()).values()) == 1000
        assert other.status(NOW)["flows_not_sent"] == {"stopped": 1000}
        assert len(other.outbox) == 0
        assert other.outbox.dropped_datagrams == other.dropped["stopped"] > 60


def test_faults_are_told_once_a_minute_and_so_is_their_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = closed_port()
    with sink(port) as to:
        for second in range(100):
            take(to, many(1), after(second))
            push_all(to, after(second))
            to.tell(after(second))
        receiver = Receiver(port)
        for second in range(100, 200):
            take(to, many(1), after(second))
            push_all(to, after(second))
            to.tell(after(second))
        receiver.close()
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[2] for line in told] == [
        f"{REFUSED} (1 time)",
        f"{REFUSED} (61 times)",
        "sending again after 102 s; 1 interruption so far",
        f"{REFUSED} (100 times)",
    ]


@pytest.mark.parametrize("comes_back", [False, True])
def test_while_there_may_be_no_way_one_datagram_is_risked_and_kept(receiver: Receiver, comes_back: bool) -> None:
    """What ARP does not find, or a router says, comes seconds later: until then the datagram is not given away."""
    with sink(receiver.port) as to:
        take(to, many(100), NOW)
        no_route(to, NOW)
        assert (to.push(NOW), receiver.read()) == (after(1).monotonic_ns, [])
        assert to.push(after(1)) == after(5).monotonic_ns
        (risked,) = receiver.read()
        waiting = len(to.outbox)
        assert to.outbox.sent_datagrams == 0
        to.ready(after(3))
        assert len(to.outbox) == waiting
        if comes_back:
            no_route(to, after(4))
            assert to.push(after(5)) == after(9).monotonic_ns
            assert receiver.read() == [risked]
        assert to.push(after(9)) is None
        rest = receiver.read()
        assert len(rest) == waiting - 1
        assert octets([risked, *rest]) == Counter(range(1000, 1100))
        assert to.outbox.sent_datagrams == waiting
        take(to, flows(), after(10))
        push_all(to, after(10))
        assert [has_templates(each) for each in receiver.read()] == [True]


def test_a_name_server_says_nothing_of_the_way(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"collector.test": LOCAL}
    resolve_by(monkeypatch, names)
    with sink(receiver.port, host="collector.test") as to:
        to.ready(NOW)
        looked_up(to)
        take(to, many(100), after(1))
        names.clear()
        no_route(to, after(6))
        to.push(after(6))
        looked_up(to)
        to.push(after(7))
        assert to.status(after(7))["errors"] == {"No route to host": 1, NO_NAME: 1}
        assert len(receiver.read()) == 1
        to.push(after(8))
        assert receiver.read() == []
        assert to.outbox.sent_datagrams == 0


def test_what_was_risked_at_the_old_address_goes_to_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    old, names = Receiver(), {"collector.test": LOCAL}
    new = Receiver(old.port, "127.0.0.2")
    resolve_by(monkeypatch, names)
    with sink(old.port, host="collector.test") as to:
        to.ready(NOW)
        looked_up(to)
        take(to, many(100), after(1))
        names["collector.test"] = "127.0.0.2"
        no_route(to, after(6))
        to.push(after(7))
        looked_up(to)
        assert len(old.read()) == 1
        now = push_all(to, after(11), 10)
        assert octets(new.read()) == Counter(range(1000, 1100))
        assert to.status(now)["trouble"] is None
    old.close()
    new.close()


def test_a_port_that_is_taken_is_given_up(receiver: Receiver) -> None:
    """After a crash the old port is wanted; another program may have it by now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        to = Destination(LOCAL, receiver.port)
        to.source_port = taken.getsockname()[1]
        assert to.ready(0)
        assert to.send(b"x", 0) is Outcome.SENT
        assert to.source_port != taken.getsockname()[1]
        to.close()


@pytest.mark.parametrize(
    ("code", "reason", "pause_ns", "keeps_socket"),
    [
        (errno.EAGAIN, BUFFER_FULL, 10 * MS, True),
        (errno.ENOBUFS, BUFFER_FULL, 10 * MS, True),
        (errno.ENETUNREACH, "Network is unreachable", NS_PER_S, False),
        (errno.EHOSTUNREACH, "No route to host", NS_PER_S, False),
        (errno.ENETDOWN, "Network is down", NS_PER_S, False),
        (errno.EPERM, "Operation not permitted", NS_PER_S, False),
        (errno.EADDRNOTAVAIL, "Cannot assign requested address", NS_PER_S, False),
    ],
)
def test_errors_that_a_datagram_waits_for(code: int, reason: str, pause_ns: int, keeps_socket: bool) -> None:
    """The socket is the kernel's, the error is set by hand: not every one of these can be had on loopback."""
    to = Destination(LOCAL, 9)
    assert to.ready(0)
    to._failed(OSError(code, os.strerror(code)), 0)
    assert to.errors == {reason: 1}
    assert to.connected is keeps_socket
    assert not to.ready(pause_ns - 1)
    assert to.ready(pause_ns)
    assert to.epoch == (0 if keeps_socket else 1)
    to.close()


def no_route(to: CollectorSink, now: Instant) -> None:
    """What the kernel says some time after a datagram that found no host: loopback has only hosts that are there."""
    to.ready(now)
    to.destination._failed(OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)), now.monotonic_ns)


def export(destination: str, source_port: int, port: int) -> np.ndarray:
    """The flow that our own datagrams make."""
    return flow(
        LOCAL,
        destination,
        protocol_identifier=17,
        source_transport_port=source_port,
        destination_transport_port=port,
    )


def resolve_by(monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]) -> None:
    """A name server's place is taken by a table; addresses are still the system's business."""
    resolve = resolving._resolve

    def looked_up(host: str, port: int, flags: int) -> list[resolving.Address]:
        if flags:
            return resolve(host, port, flags)
        found = names.get(host)
        if found is None:
            raise OSError("Name or service not known")
        return [(socket.AF_INET, (each, port)) for each in ([found] if isinstance(found, str) else found)]

    monkeypatch.setattr(resolving, "_resolve", looked_up)


def looked_up(to: CollectorSink) -> None:
    """Until the thread that looks a name up is through: the only thing here that takes its own time."""
    to.destination._name.wait(5)


def test_a_source_that_is_not_of_this_host_is_told(receiver: Receiver) -> None:
    with sink(receiver.port, source=Endpoint("192.0.2.123")) as to:
        assert not to.ready(Instant(0, 0))
        to.wait(5)
        assert not to.ready(Instant(0, 0))
        assert to.destination.trouble == "source 192.0.2.123 is no address of this host"
