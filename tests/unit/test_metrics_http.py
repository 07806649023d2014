"""Proves that the endpoint answers what is asked as HTTP wants it, bounds everybody, and is hindered by nobody."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import pytest

from xflowd import exposing
from xflowd.config import Config, Metrics
from xflowd.config import Endpoint as Address
from xflowd.edge import http as serving
from xflowd.edge.http import LONGEST_REQUEST, MOST_CLIENTS, Answer, Server, listening
from xflowd.exposing import Exposition, claim
from xflowd.settings import StartError

BODY = b"xflowd_info 1\n"
LONG = b"x" * (8 << 20)  # more than any socket buffer takes
SECOND_NS = 10**9


class Endpoint:
    """A server on a loopback port, and a clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.server = Server(
            {"/metrics": self._page, "/long": lambda *_: Answer(200, "text/plain", LONG), "/bad": _fail}
        )
        self.server.listen(listening("127.0.0.1", 0))
        self.now_ns = 0

    def _page(self, headers: Mapping[str, str], _: int) -> Answer:
        self.asked.append(headers)
        return Answer(200, "text/plain; version=0.0.4", BODY)

    @property
    def port(self) -> int:
        assert self.server.address
        return self.server.address[1]

    def serve(self, times: int = 20) -> None:
        for _ in range(times):
            self.server.serve(self.now_ns)

    def client(self, sent: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        made.sendall(sent)
        self.serve()
        return made

    def answer(self, sent: bytes) -> bytes:
        """All that comes back, until the server closes."""
        with self.client(sent) as client:
            got = bytearray()
            client.setblocking(False)
            for _ in range(10_000):
                self.serve(1)
                try:
                    more = client.recv(1 << 20)
                except BlockingIOError:
                    continue
                if not more:
                    return bytes(got)
                got += more
        raise AssertionError("it never closed")


def _fail(*_: object) -> Answer:
    raise RuntimeError("broken")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.server.close()


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ") for line in lines), body


def test_a_scrape(endpoint: Endpoint) -> None:
    status, headers, body = parsed(endpoint.answer(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: b;c=d\r\n\r\n"))
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == "text/plain; version=0.0.4"
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Connection"] == "close"
    assert endpoint.asked == [{"host": "a", "accept": "b;c=d"}]
    assert (endpoint.server.requests, dict(endpoint.server.faults)) == (1, {})


def test_a_client_of_the_standard_library_understands_it(endpoint: Endpoint) -> None:
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.001):
            endpoint.serve(1)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        client = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=5)
        client.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        response = client.getresponse()
        assert (response.status, response.read()) == (200, BODY)
        client.close()
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("request_line", "status", "fault"),
    [
        (b"GET / HTTP/1.1", 404, "not found"),
        (b"GET //metrics HTTP/1.1", 404, "not found"),
        (b"POST /metrics HTTP/1.1", 405, "method not allowed"),
        (b"GET /metrics", 400, "bad request"),
        (b"GET /metrics HTTP/2", 400, "bad request"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "bad request"),
        (b"\xff\xfe \x00 \x00", 400, "bad request"),
        (b"GET /bad HTTP/1.1", 500, "internal server error"),
    ],
)
def test_what_is_no_scrape_is_told_so_and_counted(
    endpoint: Endpoint, request_line: bytes, status: int, fault: str
) -> None:
    assert parsed(endpoint.answer(request_line + b"\r\n\r\n"))[0] == status
    assert dict(endpoint.server.faults) == {fault: 1}
    assert fault in endpoint.server.told()


def test_head_has_the_length_and_no_body(endpoint: Endpoint) -> None:
    status, headers, body = parsed(endpoint.answer(b"HEAD /metrics HTTP/1.1\r\n\r\n"))
    assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")


def test_a_request_octet_by_octet_and_one_that_never_ends(endpoint: Endpoint) -> None:
    slow = endpoint.client()
    for octet in b"GET /metrics HTTP/1.1\r\n\r\n":
        slow.send(bytes([octet]))
        endpoint.serve(2)
    assert slow.recv(1 << 16).endswith(BODY)
    slow.close()
    line = b"GET /metrics HTTP/1.1\r\nX: "
    assert parsed(endpoint.answer(line + b"x" * (LONGEST_REQUEST + 1 - len(line))))[0] == 400


def test_a_long_answer_goes_in_portions_to_who_reads(endpoint: Endpoint) -> None:
    assert parsed(endpoint.answer(b"GET /long HTTP/1.1\r\n\r\n"))[2] == LONG


def test_who_does_not_read_or_ask_is_let_go(endpoint: Endpoint) -> None:
    deaf, mute, gone = endpoint.client(b"GET /long HTTP/1.1\r\n\r\n"), endpoint.client(), endpoint.client(b"GET")
    gone.close()
    endpoint.serve()
    endpoint.now_ns = 9 * SECOND_NS
    endpoint.serve()
    assert dict(endpoint.server.faults) == {"gone before the request was complete": 1}
    endpoint.now_ns = 10 * SECOND_NS
    endpoint.serve()
    told = {"answer not taken in time": 1, "no request in time": 1, "gone before the request was complete": 1}
    assert dict(endpoint.server.faults) == told
    for client in (deaf, mute):
        client.close()


def test_many_clients_wait_for_places_and_get_them(endpoint: Endpoint) -> None:
    idle = [endpoint.client() for _ in range(MOST_CLIENTS + 3)]
    last = endpoint.client(b"GET /metrics HTTP/1.1\r\n\r\n")
    last.setblocking(False)
    with pytest.raises(BlockingIOError):
        last.recv(1)
    endpoint.now_ns = SECOND_NS
    endpoint.serve()
    endpoint.now_ns = 2 * SECOND_NS
    endpoint.serve()
    assert last.recv(1 << 16).endswith(BODY)
    assert endpoint.server.faults["no request in time"] >= MOST_CLIENTS
    for client in (*idle, last):
        client.close()


def test_it_moves_and_answers_there_alone(endpoint: Endpoint) -> None:
    before = endpoint.port
    endpoint.server.listen(listening("127.0.0.1", 0))
    assert parsed(endpoint.answer(b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before), timeout=1)
    endpoint.server.listen(None)
    assert endpoint.server.address is None
    endpoint.serve()


def test_a_reload_that_fails_leaves_it_where_it_was() -> None:
    """From one address to all with the same port: the two overlap, so the old one has to go first."""
    with socket.socket() as taken:  # a port that is free, at the time of asking
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    before, after = Address("127.0.0.1", port), Address("0.0.0.0", port)
    exposition = Exposition(SimpleNamespace(config=Config(metrics=Metrics(before))), claim(before))  # type: ignore[arg-type]
    try:
        assert exposition.claim(before) is None
        for _ in range(2):
            claimed = exposition.claim(after)
            assert exposition.server.address is None
            exposition.keep(claimed)
            assert exposition.server.address == ("127.0.0.1", port)
        exposition.move(after, exposition.claim(after))
        assert exposition.server.address == ("0.0.0.0", port)
        with pytest.raises(StartError, match="Cannot assign requested address: give an address of this host"):
            exposition.claim(Address("192.0.2.77", 1))
        exposition.keep(None)
        assert exposition.server.address == ("0.0.0.0", port)
        exposition.move(None, exposition.claim(None))
        assert exposition.server.address is None
    finally:
        exposition.server.close()


PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: What a client asks for → the form that it gets.
ACCEPTED = {
    "": PLAIN,
    "*/*": PLAIN,
    "text/plain": PLAIN,
    "text/plain; version=1.0.0; escaping=allow-utf-8": PLAIN,
    "text/plain; version=abc": PLAIN,
    "text/plain; version=": PLAIN,
    ";;=,,;": PLAIN,
    "application/openmetrics-text": OPEN,
    "Application/OpenMetrics-Text;version=1.0.0": OPEN,
    'application/openmetrics-text;version="1.0.0"': OPEN,
    "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5": OPEN,
    "application/openmetrics-text;version=2.0.0;q=0.8,application/openmetrics-text;version=1.0.0;q=0.7": OPEN,
    "application/openmetrics-text; version=abc": PLAIN,
    "application/openmetrics-text; version=99.1": PLAIN,
    "application/openmetrics-text; version=1.0.0\x00": PLAIN,
    "application/openmetrics-text; escaping=abc": OPEN,
}


class Exposed:
    """An exposition of an agent that has nothing but how often it was asked for its figures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gathered = self.encoded = 0
        encode = exposing._encoded
        monkeypatch.setattr(exposing, "figures", lambda _: None)
        monkeypatch.setattr(exposing, "samples", self._samples)
        monkeypatch.setattr(exposing, "_encoded", lambda *form: self._count(encode(*form)))
        self._exposition = Exposition(SimpleNamespace(config=Config()), None)  # type: ignore[arg-type]

    def _samples(self, *_: object) -> list[tuple[str, tuple[str, ...], float]]:
        self.gathered += 1
        return [("xflowd_scrapes_total", (), self.gathered)]

    def _count(self, text: bytes) -> bytes:
        self.encoded += 1
        return text

    def answer(self, accept: str, now_ns: int) -> Answer:
        return self._exposition._answer({"accept": accept}, now_ns)


@pytest.mark.parametrize(("accept", "form"), ACCEPTED.items(), ids=map(repr, ACCEPTED))
def test_there_are_two_forms_whatever_is_asked_for(accept: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Exposed(monkeypatch).answer(accept, 0)
    assert (answer.status, answer.kind) == (200, form)
    assert b"xflowd_scrapes_total 1.0\n" in answer.body
    assert answer.body.endswith(b"# EOF\n") == (form == OPEN)


def test_no_client_makes_figures_be_gathered_more_than_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version in each request, of both forms: each second they are gathered once, and written twice."""
    exposed, kinds = Exposed(monkeypatch), set()
    for number in range(1000):
        kind = ("application/openmetrics-text", "text/plain")[number % 2]
        kinds.add(exposed.answer(f"{kind}; version=1.0.{number}, {kind};q=0.{number}", number * SECOND_NS // 100).kind)
    assert kinds == {PLAIN, OPEN}
    assert (exposed.gathered, exposed.encoded) == (10, 20)


def test_an_address_that_is_taken_or_not_here(endpoint: Endpoint) -> None:
    for host, port in (("127.0.0.1", endpoint.port), ("192.0.2.1", 0)):
        with pytest.raises(OSError, match=r"in use|assign"):
            listening(host, port)
    assert serving._parsed(b"") == ("", "", {})
