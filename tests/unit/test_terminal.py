"""Proves that flows are printed as they are: aligned, complete, whatever columns they have, whoever reads."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from xflowd.config.flowkey import LEVELS
from xflowd.edge.terminal import JsonLines, Progress, Table, output, terminal_size
from xflowd.edge.terminal.cells import Records
from xflowd.printing import Printer

COUNTS = [
    ("flowStartMilliseconds", ">u8"),
    ("flowEndMilliseconds", ">u8"),
    ("sourceTransportPort", ">u2"),
    ("destinationTransportPort", ">u2"),
    ("icmpTypeCodeIPv4", ">u2"),
    ("ingressInterface", ">u4"),
    ("egressInterface", ">u4"),
    ("packetDeltaCount", ">u8"),
    ("octetDeltaCount", ">u8"),
    ("tcpControlBits", "u1"),
    ("protocolIdentifier", "u1"),
    ("flowEndReason", "u1"),
]
IPV4: list[Any] = [("sourceIPv4Address", "u1", 4), ("destinationIPv4Address", "u1", 4), *COUNTS]
IPV6: list[Any] = [("sourceIPv6Address", "u1", 16), ("destinationIPv6Address", "u1", 16), *COUNTS]
NOON = 1_714_564_800_123  # 2024-05-01 12:00:00.123 UTC
TCP_FLOW = (NOON, NOON + 61_500, 443, 50_000, 0, 2, 3, 12, 123_456, 0x1B, 6, 3)
ICMP_FLOW = (NOON, NOON, 0, 0, 3 << 8 | 13, 2, 0, 1, 84, 0, 1, 1)


def ipv4(*rows: tuple[int, ...]) -> Records:
    return np.array([([192, 0, 2, 1], [198, 51, 100, 255], *row) for row in rows], np.dtype(IPV4))


def ipv6(source: str, destination: str, *rows: tuple[int, ...]) -> Records:
    pair = (list(bytes.fromhex(source.replace(":", ""))), list(bytes.fromhex(destination.replace(":", ""))))
    return np.array([(*pair, *row) for row in rows], np.dtype(IPV6))


LONGEST = "2001:1db8:1111:2222:3333:4444:5555:6666"
LOOPBACK = "0000:" * 7 + "0001"


def table(width: int, *arrays: Records, height: int = 0, names: dict[int, str] | None = None) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    sink = Table(stream, width, height, names)
    for array in arrays:
        sink.write(array)
    stream.seek(0)
    return stream.read().splitlines()


def test_a_table_of_80_columns() -> None:
    assert table(80, ipv4(TCP_FLOW, ICMP_FLOW)) == [
        "UTC      time s proto  source                → destination            pkts octet",
        "12:00:00 61.500 TCP    192.0.2.1:443         → 198.51.100.255:50000     12  123k",
        "12:00:00  0.000 ICMP   192.0.2.1             → 198.51.100.255:3/13       1    84",
    ]


def test_a_wide_table_has_it_all() -> None:
    assert table(128, ipv4(TCP_FLOW), names={2: "eth0", 3: "wan"})[1] == (
        "2024-05-01 12:00:00.123 61.500 TCP    192.0.2.1:443         → 198.51.100.255:50000     12  123k "
        "...AP.SF end       eth0→wan"
    )


@pytest.mark.parametrize("width", [80, 89, 99, 113, 128, 180, 300])
def test_no_line_is_wider_than_the_terminal_and_counts_stay_in_their_column(width: int) -> None:
    long = ipv6(LONGEST, LONGEST, (NOON, NOON, 65_535, 65_535, 0, 2, 3, 9_999_999, 10**18, 0xFF, 6, 5))
    lines = table(width, ipv4(TCP_FLOW), long, ipv6(LOOPBACK, LOOPBACK, TCP_FLOW))
    assert max(map(len, lines)) <= width
    end = lines[0].index("octet") + len("octet")
    counts = [line[:end].split()[-2:] for line in lines[1:] if len(line) >= end]
    assert counts == [["12", "123k"], ["10.0M", "1.00E"], ["12", "123k"]]


def test_long_names_of_interfaces_need_more_room() -> None:
    names = {2: "abcdefghijklmno", 3: "abcdefghijklmno"}
    for width in range(80, 200):
        assert max(map(len, table(width, ipv4(TCP_FLOW), names=names))) <= width


def test_long_addresses_take_two_lines() -> None:
    assert table(80, ipv6(LONGEST, LONGEST, (NOON, NOON, 65_535, 65_535, 0, 2, 3, 1, 2, 3, 6, 5)))[1:] == [
        f"12:00:00  0.000 TCP    [{LONGEST}]:65535",
        f"                   → [{LONGEST}]:65535     1     2",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (99_999, "99999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_234_567, "1.23M"),
        (9_996_000, "10.0M"),
        (99_960_000, "100M"),
        (2**64 - 1, "18.4E"),
    ],
)
def test_counts_have_five_characters_at_most(value: int, text: str) -> None:
    array = ipv4(TCP_FLOW)
    array["octetDeltaCount"] = value
    assert table(80, array)[1].split()[-1] == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0.000"), (99_999, "99.999"), (123_456, "123.46"), (5_000_000, "5000"), (10**9, "1.00M")],
)
def test_durations(milliseconds: int, text: str) -> None:
    array = ipv4(TCP_FLOW)
    array["flowEndMilliseconds"] = NOON + milliseconds
    assert table(80, array)[1].split()[1] == text


def test_a_header_for_each_screenful() -> None:
    lines = table(80, ipv4(*[TCP_FLOW] * 3), ipv4(*[TCP_FLOW] * 4), height=5)
    assert [number for number, line in enumerate(lines) if line.startswith("UTC")] == [0, 4, 8]


@pytest.mark.parametrize("missing", [[name] for name, *_ in IPV4] + [[name for name, *_ in IPV4[1:]]])
def test_a_missing_column_is_shown_as_such(missing: list[str]) -> None:
    array = ipv4(TCP_FLOW)
    rest = array[[name for name in array.dtype.names or () if name not in missing]]
    assert len(table(200, rest)) == 2


def test_uptimes_stand_in_for_times_across_their_turn() -> None:
    array = np.array([(2**32 - 1_000, 500)], [("flowStartSysUpTime", ">u4"), ("flowEndSysUpTime", ">u4")])
    assert table(80, array)[1].split()[:2] == ["-", "1.500"]


def test_version_5_has_icmp_in_the_port() -> None:
    fields = [entry for entry in IPV4 if entry[0] != "icmpTypeCodeIPv4"]
    array = ipv4(ICMP_FLOW)[[name for name, *_ in fields]]
    array["destinationTransportPort"] = 8 << 8
    assert "198.51.100.255:8/0 " in table(80, array)[1]


def test_a_stream_without_arrows_and_a_name_that_would_move_the_cursor() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    Table(stream, 200, names={2: "a\x1b[2J", 3: "wän"}).write(ipv4(TCP_FLOW))
    stream.seek(0)
    assert stream.read().splitlines()[1].endswith("a?[2J>w?n")


def test_json_is_read_back() -> None:
    extra = np.dtype(
        [
            *IPV4,
            ("sourceMacAddress", "u1", 6),
            ("interfaceName", "S8"),
            ("samplingProbability", ">f8"),
            ("flowStartSeconds", ">u4"),
            ("mplsTopLabelStackSection", "u1", 3),
            ("dataRecordsReliability", "?"),
        ]
    )
    row = (
        [192, 0, 2, 1],
        [198, 51, 100, 255],
        *TCP_FLOW,
        [0, 17, 34, 51, 68, 85],
        b'w"\xff',
        float("nan"),
        60,
        [1, 2, 3],
        True,
    )
    stream = io.StringIO()
    JsonLines(stream).write(np.array([row, row], extra))
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (
        first
        == second
        == dict(
            zip(
                extra.names or (),
                [
                    "192.0.2.1",
                    "198.51.100.255",
                    "2024-05-01T12:00:00.123Z",
                    "2024-05-01T12:01:01.623Z",
                    *TCP_FLOW[2:],
                    "00:11:22:33:44:55",
                    'w"\ufffd',
                    None,
                    "1970-01-01T00:01:00.000Z",
                    "010203",
                    True,
                ],
                strict=True,
            )
        )
    )


def test_json_of_ipv6_and_of_a_time_out_of_reach() -> None:
    array = ipv6(LONGEST, LOOPBACK, TCP_FLOW)
    array["flowEndMilliseconds"] = 2**64 - 1
    stream = io.StringIO()
    JsonLines(stream).write(array)
    flow = json.loads(stream.getvalue())
    assert (flow["sourceIPv6Address"], flow["destinationIPv6Address"]) == (LONGEST, "::1")
    assert flow["flowEndMilliseconds"] == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("value", "micro", "nano"),
    [
        (
            (2_208_988_800 + 1_700_000_000) << 32 | 1 << 31,
            "2023-11-14T22:13:20.500000Z",
            "2023-11-14T22:13:20.500000000Z",
        ),
        (0, "2036-02-07T06:28:16.000000Z", "2036-02-07T06:28:16.000000000Z"),  # NTP begins anew
        (1 << 63, "1968-01-20T03:14:08.000000Z", "1968-01-20T03:14:08.000000000Z"),
        ((1 << 64) - 1, "2036-02-07T06:28:15.999999Z", "2036-02-07T06:28:15.999999999Z"),
    ],
)
def test_json_of_times_finer_than_milliseconds(value: int, micro: str, nano: str) -> None:
    array = np.array(
        [(value, value, 7)], [("flowStartMicroseconds", ">u8"), ("flowEndNanoseconds", ">u8"), ("x", "u1")]
    )
    stream = io.StringIO()
    JsonLines(stream).write(array)
    assert json.loads(stream.getvalue()) == {"flowStartMicroseconds": micro, "flowEndNanoseconds": nano, "x": 7}


@pytest.mark.parametrize("sink", [lambda stream: Table(stream, 80), JsonLines])
def test_no_records_no_output(sink: Any) -> None:
    stream = io.StringIO()
    sink(stream).write(ipv4())
    assert stream.getvalue() == ""


WRITER = """
import sys
import numpy as np
from xflowd.edge.terminal import JsonLines, Table
sink = JsonLines(sys.stdout) if sys.argv[1] == "json" else Table(sys.stdout, 80)
array = np.zeros(10, [("protocolIdentifier", "u1")])
while not sink.closed:
    sink.write(array)
sink.write(array)
"""


@pytest.mark.parametrize("sink", ["json", "table"])
def test_a_reader_that_goes_ends_it_quietly(sink: str) -> None:
    command = [sys.executable, "-c", WRITER, sink]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()
        assert (process.wait(timeout=20), complaint) == (0, b"")


def test_a_stream_that_takes_no_more_is_a_fault_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_refused", [])
    with open("/dev/full", "w") as full:
        sink = JsonLines(full)
        for _ in range(2):
            sink.write(ipv4(TCP_FLOW))
            assert sink.closed
    with pytest.raises(OSError, match="No space left on device: make room") as told:
        output.require_written()
    assert told.value.filename == "standard output"
    output.require_written()


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_ten_times_a_second_at_most() -> None:
    screen = Screen()
    progress = Progress(screen, 200)
    for done, now_ms in [(0, 0), (10, 50), (50, 100), (190, 199), (400, 200)]:
        progress.show(done, f"{done} packets", now_ms * 1_000_000)
    progress.clear()
    shown = screen.getvalue().split("\r\x1b[K")
    assert shown == [
        "",
        f"[{'':30}]   0% 0 packets",
        f"[{'#######':30}]  25% 50 packets",
        f"[{'#' * 30}] 100% 400 packets",
        "",
    ]


def test_progress_of_an_unknown_total_and_without_a_terminal() -> None:
    screen, file = Screen(), io.StringIO()
    for stream in (screen, file):
        progress = Progress(stream, 0)
        progress.show(7, "7 packets", 0)
        progress.clear()
    assert screen.getvalue() == "\r\x1b[K7 packets\r\x1b[K"
    assert file.getvalue() == ""


@pytest.mark.parametrize(("wished", "columns"), [("", 200), ("100", 100), ("0", 200), ("wide", 200), ("-5", 200)])
def test_the_size_of_what_is_no_terminal(monkeypatch: pytest.MonkeyPatch, wished: str, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", wished)
    assert terminal_size(io.StringIO()) == (columns, 0)


def test_the_size_of_a_terminal() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb"), os.fdopen(theirs, "w") as stream:
        assert terminal_size(stream)[0] == 80  # a terminal of no size is taken for one of 80 columns


@pytest.mark.parametrize(("key", "shown"), [("proto", ""), ("ip", ""), ("full", ":3/13"), ("vlan", ":3/13")])
def test_type_and_code_of_icmp_are_shown_where_the_key_has_them(
    monkeypatch: pytest.MonkeyPatch, key: str, shown: str
) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    printer = Printer("table", {})
    printer.know_key(LEVELS[key])
    assert isinstance(printer._output, Table)
    printer._output.write(ipv4(ICMP_FLOW))
    assert f" 198.51.100.255{shown} " in sys.stdout.getvalue()


@pytest.mark.parametrize(("key", "shown"), [("proto", "ICMP"), ("ip", ""), ("full", "ICMP"), ("vlan", "ICMP")])
def test_the_protocol_is_shown_where_the_key_has_it(monkeypatch: pytest.MonkeyPatch, key: str, shown: str) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    printer = Printer("table", {})
    printer.know_key(LEVELS[key])
    assert isinstance(printer._output, Table)
    flow = ipv4(ICMP_FLOW)
    flow["protocolIdentifier"] = flow["protocolIdentifier"] if shown else 0  # as the table has it
    printer._output.write(flow)
    head, row = sys.stdout.getvalue().splitlines()
    at = head.index("proto")
    assert row[at : at + 6] == f"{shown:6}"
