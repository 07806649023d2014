"""Real traffic of known size: captures played back, iperf3, ping, and SCTP packets made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lab.flow import SCTP, TCP, UDP, WITH_PORTS, Count, Key
from lab.namespaces import Namespace

PING_OCTETS = {4: 20, 6: 40}  # the IP header before the 8 octets of ICMP and the payload

#: Sends SCTP INIT chunks (RFC 9260 3.3.2) over a raw socket: this needs no SCTP in the kernel.
SEND_SCTP = """
import socket, struct, sys
source, destination, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
init = struct.pack("!BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 1)
packet = struct.pack("!HHII", 5001, 5002, 0, 0) + init
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as raw:
    raw.bind((source, 0))
    for _ in range(count):
        raw.sendto(packet, (destination, 0))
"""
SCTP_OCTETS = 20 + 12 + 20

#: To an address, a datagram from each of STEADY_PORTS, so many times a second, until it is told to stop.
SEND_STEADILY = """
import signal, socket, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
for number, sender in enumerate(senders):
    sender.bind(("", 2000 + number))
while not stopped:
    for sender in senders:
        sender.sendto(bytes(30), (sys.argv[1], 9))
    time.sleep(1 / int(sys.argv[2]))
"""
STEADY_PORTS = range(2000, 2050)


def play(host: Namespace, *captures: Path, packets_per_second: int = 5000, loops: int = 1) -> None:
    """Send the frames of capture files out of the host's eth0 as they are. Raises RuntimeError on failure."""
    speed = ["--quiet", f"--pps={packets_per_second}", f"--loop={loops}", "--preload-pcap"]
    report = host.run("tcpreplay", *speed, "--intf1=eth0", *captures)
    failed = [int(line.split()[-1]) for line in report.splitlines() if "Failed packets" in line]
    if any(failed):
        raise RuntimeError(f"tcpreplay could not send {failed} packets")


def capture_totals(capture: Path, *, ipv6: bool = True) -> dict[Key, Count]:
    """Packets and IP octets of each five-tuple of a capture file, as tshark reads it: outermost headers."""
    sums: dict[Key, Count] = defaultdict(lambda: Count(0, 0))
    for key, octets in capture_packets(capture):
        if ipv6 or ":" not in key.source_address:
            sums[key] = Count(sums[key].packets + 1, sums[key].octets + octets)
    return dict(sums)


def capture_packets(capture: Path) -> Iterator[tuple[Key, int]]:
    """Five-tuple and IP octets of every IP packet of a capture file, in its order."""
    names = ["ip.src", "ip.dst", "ip.proto", "ip.len", "ipv6.src", "ipv6.dst", "ipv6.nxt", "ipv6.plen"]
    names += [f"{layer}.{end}port" for layer in ("tcp", "udp", "sctp") for end in ("src", "dst")]
    names += ["frame.protocols"]
    wanted = [word for name in names for word in ("-e", name)]
    apart = ["-n", "-o", "ip.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]
    form = ["-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    command = ["tshark", "-r", str(capture), *apart, *form, *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for line in text.splitlines():
        packet = dict(zip(names, line.split("|"), strict=True))
        if packet["ip.src"] or packet["ipv6.src"]:
            yield _packet(packet)


def tcp(client: Namespace, server: Namespace, address: str, octets: int) -> dict[str, Any]:
    """Move `octets` of payload by TCP from client to server. Returns iperf3's own end report."""
    return _iperf3(client, server, address, "--bytes", str(octets))


def udp(client: Namespace, server: Namespace, address: str, datagrams: int) -> dict[str, Any]:
    """Send datagrams of 1,200 octets by UDP from client to server. Returns iperf3's own end report."""
    load = ["--bytes", str(datagrams * 1200), "--length", "1200", "--bitrate", "50M"]
    return _iperf3(client, server, address, "--udp", *load)


def ping(host: Namespace, address: str, count: int, payload: int = 56) -> Count:
    """Ask `count` times and get every answer. Returns what each direction carried."""
    host.run("ping", "-q", "-n", "-c", str(count), "-i", "0.02", "-W", "2", "-s", str(payload), address)
    return Count(count, count * (PING_OCTETS[ip_address(address).version] + 8 + payload))


def sctp(host: Namespace, source: str, destination: str, count: int) -> tuple[Key, Count]:
    """Send `count` SCTP packets. Returns their five-tuple and what they carried."""
    host.run(sys.executable, "-c", SEND_SCTP, source, destination, str(count))
    return Key(source, destination, SCTP, 5001, 5002), Count(count, count * SCTP_OCTETS)


def _iperf3(client: Namespace, server: Namespace, address: str, *options: str) -> dict[str, Any]:
    listener = server.start("iperf3", "--server", "--one-off", "--forceflush")
    listener.wait_for_log("Server listening")
    report: dict[str, Any] = json.loads(client.run("iperf3", "--client", address, "--json", *options))
    listener.wait()
    return report


def _packet(packet: dict[str, str]) -> tuple[Key, int]:
    """An inner packet, in a tunnel or in an ICMP error, must not lend the outer one its ports."""
    family4 = bool(packet["ip.src"]) and not _outer_is_ipv6(packet)
    address, protocol_name = ("ip", "ip.proto") if family4 else ("ipv6", "ipv6.nxt")
    protocol = int(packet[protocol_name])
    layer = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}.get(protocol) if protocol in WITH_PORTS else None
    ports = [int(packet[f"{layer}.{end}port"] or 0) if layer else 0 for end in ("src", "dst")]
    source, destination = (str(ip_address(packet[f"{address}.{end}"])) for end in ("src", "dst"))
    octets = int(packet["ip.len"]) if family4 else int(packet["ipv6.plen"]) + 40
    return Key(source, destination, protocol, ports[0], ports[1]), octets


def _outer_is_ipv6(packet: dict[str, str]) -> bool:
    layers = packet["frame.protocols"].split(":")
    return "ip" not in layers or ("ipv6" in layers and layers.index("ipv6") < layers.index("ip"))
