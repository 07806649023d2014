"""Proves that a configuration is read as it is written, and that all its faults are told at once, exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_chosen_elements import PLAIN

from xflowd.config import (
    LEVELS,
    Collector,
    Config,
    ConfigError,
    Direction,
    Endpoint,
    ExportProtocol,
    Hook,
    KeyField,
    Meter,
    Sampling,
    SamplingMode,
    Template,
    Tunnels,
    doubtful,
    load,
    matching,
    override,
    unmatched,
)
from xflowd.config.schema import keys
from xflowd.config.writing import dump

KEYS = "allowed are ip, proto, full, vlan, ether, or IANA names like ipClassOfService"
COLLECTOR = "[collector a]\naddress = 192.0.2.10:2055\n"


def loaded(tmp_path: Path, text: str | bytes) -> Config:
    file = tmp_path / "xflowd.conf"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(file)


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/xflowd.conf", "F").splitlines()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Config(Meter(), Sampling(), ())


def test_every_key(tmp_path: Path) -> None:
    text = """\ufeff# a comment
[meter]
interfaces = wan, wg*  wan ; the way out
direction = BOTH
hook = tc\r
 key=full
max_flows = 1
active_timeout = 1m30s
idle_timeout = 1h

[sampling]\t# comment
mode = random
rate = 100
[collector nas]
address = [2001:db8::10]:9995
protocol = 9
source = [2001:db8::1]:40000
template_refresh = 30s
max_payload = 512
observation_domain = 4294967295
[ collector   b#1 ]
address = flows.example.net
source =
observation_domain = # derived
"""
    assert loaded(tmp_path, text) == Config(
        Meter(("wan", "wg*"), (), Direction.BOTH, Hook.TC, LEVELS["full"], Tunnels.OUTER, 1, 90, 3600),
        Sampling(SamplingMode.RANDOM, 100),
        (
            Collector(
                "nas",
                Endpoint("2001:db8::10", 9995),
                ExportProtocol.NETFLOW9,
                Endpoint("2001:db8::1", 40000),
                30,
                512,
                2**32 - 1,
            ),
            Collector("b#1", Endpoint("flows.example.net")),
        ),
    )


@pytest.mark.parametrize(
    ("protocol", "port"), [("ipfix", 4739), ("10", 4739), ("netflow9", 2055), ("NetFlow5", 2055), ("5", 2055)]
)
def test_a_missing_port_is_that_of_the_protocol(tmp_path: Path, protocol: str, port: int) -> None:
    (collector,) = loaded(tmp_path, f"[collector a]\naddress = 192.0.2.1\nprotocol = {protocol}\n").collectors
    assert collector.port == port


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1m30s", 90), ("1m30", 90), ("1h", 3600), ("1h1s", 3601), ("1h1m", 3660)],
)
def test_times(tmp_path: Path, text: str, seconds: int) -> None:
    assert loaded(tmp_path, f"[meter]\nactive_timeout = {text}").meter.active_timeout == seconds


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1:0", Endpoint("192.0.2.1")),
        ("192.0.2.1", Endpoint("192.0.2.1")),
        ("0.0.0.0:40000", Endpoint("0.0.0.0", 40000)),
        ("", None),
    ],
)
def test_a_source_port_may_be_any(tmp_path: Path, text: str, endpoint: Endpoint | None) -> None:
    assert loaded(tmp_path, f"{COLLECTOR}source = {text}").collectors[0].source == endpoint


@pytest.mark.parametrize(
    ("text", "fields", "rendered"),
    [
        ("ip", "SOURCE_ADDRESS DESTINATION_ADDRESS", "ip"),
        ("Proto", "SOURCE_ADDRESS DESTINATION_ADDRESS PROTOCOL", "proto"),
        ("vlan full", " ".join(field.name for field in LEVELS["vlan"]), "vlan"),
        ("destinationIPv6Address, sourceIPv4Address sourceIPv6Address", "SOURCE_ADDRESS DESTINATION_ADDRESS", "ip"),
        (
            "protocolIdentifier icmpTypeCodeIPv4",
            "DESTINATION_PORT PROTOCOL",
            "destinationTransportPort, protocolIdentifier",
        ),
        ("flowLabelIPv6, ip", "SOURCE_ADDRESS DESTINATION_ADDRESS FLOW_LABEL", "ip, flowLabelIPv6"),
        ("ether ipClassOfService flowLabelIPv6", " ".join(field.name for field in KeyField), None),
        ("flowDirection, ipVersion", "", "flowDirection"),
    ],
)
def test_keys(tmp_path: Path, text: str, fields: str, rendered: str | None) -> None:
    config = loaded(tmp_path, f"[meter]\nkey = {text}")
    assert config.meter.key == tuple(KeyField[name] for name in fields.split())
    assert loaded(tmp_path, dump(config)) == config
    if rendered:
        assert f"key = {rendered}\n" in dump(config)


METER = [
    ("key =", f"F:2 [meter] key: is empty; {KEYS}"),
    (
        "key = proto, ipClassOfServise",
        "F:2 [meter] key: 'ipClassOfServise' is not known; did you mean ipClassOfService?",
    ),
    ("key = proto, octetDeltaCount", f"F:2 [meter] key: 'octetDeltaCount' cannot be part of a key; {KEYS}"),
    ("key = vlanid", "F:2 [meter] key: 'vlanid' is not known; did you mean vlanId?"),
    ("key = ip, ip", "F:2 [meter] key: 'ip' is named twice; keep one of the two"),
    (
        "key = ip, sourceTransportPort",
        "F:2 [meter] key: has ports without their protocol; add protocolIdentifier",
    ),
    ("tunnels = both", "F:2 [meter] tunnels: 'both' is not known; allowed are outer, inner"),
    ("interface = wan", "F:2 [meter] interface: unknown key; did you mean interfaces?"),
    (
        "zzz = 1",
        f"F:2 [meter] zzz: unknown key; known are {', '.join(keys('meter'))}",
    ),
    ("hook = xpd", "F:2 [meter] hook: 'xpd' is not known; allowed are auto, xdp, tc"),
    ("max_flows = 0", "F:2 [meter] max_flows: '0' is out of range; allowed are 1 to 4194304"),
    ("max_flows = 4194305", "F:2 [meter] max_flows: '4194305' is out of range; allowed are 1 to 4194304"),
    ("max_flows = 64k", "F:2 [meter] max_flows: '64k' is not a whole number; allowed are 1 to 4194304"),
    ("max_flows = -1", "F:2 [meter] max_flows: '-1' is not a whole number; allowed are 1 to 4194304"),
    ("max_flows =", "F:2 [meter] max_flows: is empty; allowed are 1 to 4194304"),
    (
        "active_timeout = 1d",
        "F:2 [meter] active_timeout: '1d' is not a time; write it as 90, 90s, 1m30s or 1h",
    ),
    ("active_timeout =", "F:2 [meter] active_timeout: '' is not a time; write it as 90, 90s, 1m30s or 1h"),
    ("idle_timeout = 0", "F:2 [meter] idle_timeout: '0' is out of range; allowed are 1 to 86400 seconds"),
    ("idle_timeout = 25h", "F:2 [meter] idle_timeout: '25h' is out of range; allowed are 1 to 86400 seconds"),
    (
        'interfaces = "wan"',
        "F:2 [meter] interfaces: '\"wan\"' cannot name an interface; write names or globs: wan, wg*",
    ),
    (
        "interfaces = abcdefghijklmnop",
        "F:2 [meter] interfaces: 'abcdefghijklmnop' is too long; a name has 15 characters at most",
    ),
    ("hook = tc\nhook = xdp", "F:3 [meter] hook: is given twice, first in line 2; keep one of the two"),
    ("what", "F:2: cannot read 'what'; write [section], key = value or # comment"),
    ("= 5", "F:2: cannot read '= 5'; write [section], key = value or # comment"),
    ("[meter", "F:2: cannot read '[meter'; write [section], key = value or # comment"),
]


@pytest.mark.parametrize(("line", "fault"), METER)
def test_faults_of_keys(tmp_path: Path, line: str, fault: str) -> None:
    assert faults(tmp_path, f"[meter]\n{line}\n") == [fault]


ADDRESSES = [
    ("", "is empty; write HOST:PORT"),
    ("192.0.2.1:", "port is empty; allowed are 1 to 65535"),
    ("192.0.2.1:0", "port '0' is out of range; allowed are 1 to 65535"),
    ("192.0.2.1:65536", "port '65536' is out of range; allowed are 1 to 65535"),
    ("192.0.2.1:http", "port 'http' is not a whole number; allowed are 1 to 65535"),
    ("192.0.2.1:" + "9" * 5000, None),
    ("192.0.2.300:1", "'192.0.2.300:1' is neither an address nor a name; write HOST:PORT or [IPv6]:PORT"),
    ("[2001:db8::g]:1", "'[2001:db8::g]:1' is neither an address nor a name; write HOST:PORT or [IPv6]:PORT"),
    ("2001:db8::1:1", "'2001:db8::1:1' has an IPv6 address without brackets; write [IPv6]:PORT"),
    ("a b:1", "'a b:1' is neither an address nor a name; write HOST:PORT or [IPv6]:PORT"),
    ("-a:1", "'-a:1' is neither an address nor a name; write HOST:PORT or [IPv6]:PORT"),
    (":2055", "':2055' is neither an address nor a name; write HOST:PORT or [IPv6]:PORT"),
]


@pytest.mark.parametrize(("text", "fault"), ADDRESSES)
def test_faults_of_addresses(tmp_path: Path, text: str, fault: str | None) -> None:
    (line,) = faults(tmp_path, f"[collector a]\naddress = {text}\n")
    assert line.startswith("F:2 [collector a] address: ")
    if fault:
        assert line == f"F:2 [collector a] address: {fault}"


SECTIONS = [
    ("[sampler]", "F:1 [sampler]: unknown section; did you mean sampling?"),
    ("[x]", "F:1 [x]: unknown section; known are meter, sampling, template, collector, agent, metrics"),
    ("[template]\nelements = default", "F:1 [template]: has no name; write [template NAME]"),
    ("[template a]", "F:1 [template a]: has no elements; add elements = default, minimumTTL, maximumTTL"),
    ("[meter wan]", "F:1 [meter wan]: takes no name; write [meter]"),
    ("[collector]\naddress = h", "F:1 [collector]: has no name; write [collector NAME]"),
    ("[collector a]", "F:1 [collector a]: has no address; add address = HOST:PORT"),
    (
        "[collector a b]\naddress = h",
        "F:1 [collector a b]: has a name of more than one word; use letters, digits, - . : _",
    ),
    ("[meter]\n\n[meter]", "F:3 [meter]: is there twice, first in line 1; make one section of the two"),
    (
        f"{COLLECTOR}[collector a]\nmax_payload = 1000",
        "F:3 [collector a]: is there twice, first in line 1; make one section of the two",
    ),
    ("hook = tc", "F:1 hook: belongs to no section; put a line like [meter] before it"),
]


@pytest.mark.parametrize(("text", "fault"), SECTIONS)
def test_faults_of_sections(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


SEE = "`xflowd elements` lists what there is"
ELEMENTS = [
    ("", "is empty; name elements, or default and elements"),
    ("default, minimumTTl", "'minimumTTl' is no element; did you mean minimumTTL?"),
    ("sourceAddress", "'sourceAddress' is no element; did you mean sourceMacAddress?"),
    ("Default", "'Default' is no element; did you mean default?"),
    ("default 53", "'53' is no name; did you mean maximumTTL?"),
    ("default, natEvent", f"'natEvent' is nothing that can be told of a flow here; {SEE}"),
    ("default, paddingOctets", f"'paddingOctets' is nothing that can be told of a flow here; {SEE}"),
    ("yellow", f"'yellow' is no element; {SEE}"),
    ("minimumTTL default minimumTTL", "'minimumTTL' is named twice; keep one of the two"),
    ("default default", "'default' is named twice; keep one of the two"),
    ("flowLabelIPv6", "has no element of IPv4 flows; add default, or sourceIPv4Address"),
    (
        "outer:sourceIPv4Address, destinationIPv4Address",
        "outer:sourceIPv4Address without sourceIPv4Address would be taken for it; add sourceIPv4Address, or default",
    ),
    ("outer:ipVersion", "'outer:ipVersion' is no element; did you mean ipVersion?"),
    ("ipv4Options", "has no element of IPv6 flows; add default, or sourceIPv6Address"),
]


@pytest.mark.parametrize(("text", "fault"), ELEMENTS)
def test_faults_of_elements(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, f"[template a]\nelements = {text}\n") == [f"F:2 [template a] elements: {fault}"]


def test_a_collector_has_the_elements_of_its_template(tmp_path: Path) -> None:
    text = f"""{COLLECTOR}template = more
[template more]
elements = default minimumTTL,maximumTTL
[template other]
elements = octetDeltaCount
[collector b]
address = h
"""
    config = loaded(tmp_path, text)
    assert config.templates == (
        Template("more", ("default", "minimumTTL", "maximumTTL")),
        Template("other", ("octetDeltaCount",)),
    )
    assert [one.elements for one in config.collectors] == [("default", "minimumTTL", "maximumTTL"), ()]
    assert loaded(tmp_path, dump(config)) == config
    assert list(doubtful(config)) == [
        "[template other]: no collector names it",
        "[template other] elements: without packetDeltaCount and octetDeltaCount most collectors count nothing",
        "[template other] elements: without flowStartMilliseconds and flowEndMilliseconds most collectors know no time",
        "[template other] elements: without an address or ipVersion some collectors drop the record",
        "[template other] elements: without an interface nobody can tell where it was counted",
        "[template other] elements: without samplingInterval some collectors take sampled flows for all",
    ]


def test_elements_of_netflow5_are_told_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    text = f"{COLLECTOR}protocol = 5\ntemplate = t\n[template t]\nelements = foo"
    assert faults(tmp_path, text) == [
        f"F:6 [template t] elements: 'foo' is no element; {SEE}",
        "F:4 [collector a] template: netflow5 has one form of record; choose no elements, or use netflow9 or ipfix",
    ]


DOUBTS = [
    ("default", None, "ipfix"),
    (f"default, {', '.join(PLAIN[:48])}", None, "9"),
    (f"{', '.join(PLAIN)}", "Wireshark reads no template of more than 59 fields", "9"),
    ("flowStartSysUpTime flowEndSysUpTime systemInitTimeMilliseconds", "nfdump 1.7.1 takes start for end", "ipfix"),
]
WHOLE = "packetDeltaCount octetDeltaCount sourceIPv4Address interfaceName samplingInterval"


@pytest.mark.parametrize(("elements", "doubt", "protocol"), DOUBTS)
def test_doubts(tmp_path: Path, elements: str, doubt: str | None, protocol: str) -> None:
    whole = elements if "packetDeltaCount" in elements or "default" in elements else f"{WHOLE} {elements}"
    inner = "[meter]\ntunnels = inner\n"
    text = f"{COLLECTOR}protocol = {protocol}\ntemplate = t\n[template t]\nelements = {whole}\n{inner}"
    told = list(doubtful(loaded(tmp_path, text)))
    assert len(told) == (doubt is not None)
    assert doubt is None or doubt in told[0]


def test_what_the_key_has_not_is_told(tmp_path: Path) -> None:
    elements = "elements = default, sourceTransportPort, vlanId, dot1qVlanId, sourceMacAddress, ipClassOfService"
    text = f"{COLLECTOR}template = t\n[template t]\n{elements}\n[meter]\nkey = "
    assert list(doubtful(loaded(tmp_path, f"{text}vlan"))) == []
    told = [line.split()[3] for line in doubtful(loaded(tmp_path, f"{text}proto"))]
    assert told == ["dot1qVlanId", "sourceTransportPort", "vlanId"]


OUTER = "default, outer:sourceIPv4Address"
MANY = "default, " + ", ".join(name for name in PLAIN if "SysUpTime" not in name)
TOGETHER = [
    (
        f"{COLLECTOR}template = mor\n[template more]\nelements = default",
        "F:3 [collector a] template: there is no template 'mor'; did you mean more?",
    ),
    (
        f"{COLLECTOR}template = more",
        "F:3 [collector a] template: there is no template 'more'; add [template more]",
    ),
    (
        f"{COLLECTOR}template = a b",
        "F:3 [collector a] template: 'a b' is more than one name; name one section",
    ),
    (
        f"{COLLECTOR}protocol = 5\ntemplate = more\n[template more]\nelements = default",
        "F:4 [collector a] template: netflow5 has one form of record; choose no elements, or use netflow9 or ipfix",
    ),
    (
        f"{COLLECTOR}template = more\n[template more]\nelements = default flowStartSysUpTime",
        "F:3 [collector a] template: ipfix has no clock that flowStartSysUpTime could be read by; "
        "use flowStartMilliseconds and flowEndMilliseconds, or add systemInitTimeMilliseconds",
    ),
    (
        f"{COLLECTOR}max_payload = 600\ntemplate = more\n[template more]\nelements = {MANY}\n[meter]\ntunnels = inner",
        "F:3 [collector a] max_payload: 600 octets do not hold the templates; "
        "allowed are 712 or more with this template",
    ),
    (
        f"{COLLECTOR}protocol = 9\ntemplate = t\n[template t]\nelements = {OUTER}\n[meter]\ntunnels = inner",
        "F:4 [collector a] template: netflow9 has no place for outer:sourceIPv4Address: "
        "an element is in a record once; use ipfix, or leave outer:sourceIPv4Address out",
    ),
    (
        "[template t]\nelements = default, greKey",
        "F:2 [template t] elements: greKey is of a tunnel around the flow, and tunnels = outer opens none; "
        "set tunnels = inner in [meter], or leave greKey out",
    ),
    (
        "[sampling]\nrate = 10",
        "F:2 [sampling] rate: 10 without a mode; set mode to systematic or random, or rate to 1",
    ),
    (
        f"[sampling]\nmode = random\nrate = 16384\n{COLLECTOR}protocol = 5",
        "F:6 [collector a] protocol: netflow5 cannot tell a sampling rate of 16384; "
        "sample at a rate of 16383 or less, or use netflow9 or ipfix",
    ),
    (
        f"{COLLECTOR}source = [::1]:1",
        "F:3 [collector a] source: ::1 cannot send to 192.0.2.10; give an IPv4 address of this host",
    ),
    (
        "[collector a]\naddress = h\n[collector b]\naddress = H:4739",
        "F:4 [collector b] address: H:4739 is already that of collector a; remove one of the two",
    ),
]


@pytest.mark.parametrize(("text", "fault"), TOGETHER)
def test_faults_of_keys_together(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "[sampling]\nmode = systematic\nrate = 1",
        f"{COLLECTOR}protocol = 9\ntemplate = t\n[template t]\nelements = octetDeltaCount flowEndSysUpTime",
        f"{COLLECTOR}template = t\n[template t]\nelements = flowEndSysUpTime systemInitTimeMilliseconds",
        f"{COLLECTOR}template =",
        f"[sampling]\nmode = random\nrate = 16383\n{COLLECTOR}protocol = 5",
        f"{COLLECTOR}[collector b]\naddress = 192.0.2.10:2055\nprotocol = 9",
        "[collector a]\naddress = host\nsource = [::1]:1",
    ],
)
def test_what_goes_together(tmp_path: Path, text: str) -> None:
    loaded(tmp_path, text)


def test_all_faults_are_told_and_none_that_follows_from_another(tmp_path: Path) -> None:
    text = "[meter]\nhok = tc\nkey = 1\n[sampling]\nmode = foo\nrate = 5\n[collector a]\nprotocol = 6\n"
    assert faults(tmp_path, text) == [
        "F:2 [meter] hok: unknown key; did you mean hook?",
        f"F:3 [meter] key: '1' is not known; {KEYS}",
        "F:5 [sampling] mode: 'foo' is not known; allowed are none, systematic, random",
        "F:8 [collector a] protocol: '6' is not known; allowed are netflow5, netflow9, ipfix",
        "F:7 [collector a]: has no address; add address = HOST:PORT",
    ]


UNREADABLE = [
    (b"[meter]\n\nhook = \xfc\n", "F:3: octet 0xfc is not UTF-8; save the file as UTF-8 text"),
    (b"#" * (2**20 + 1), "F: is longer than 1 MiB; name a configuration file"),
]


@pytest.mark.parametrize(("octets", "fault"), UNREADABLE)
def test_unreadable_text(tmp_path: Path, octets: bytes, fault: str) -> None:
    assert faults(tmp_path, octets) == [fault]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none", "No such file or directory"), (".", "Is a directory"), ("a\0b", "embedded null byte")],
)
def test_unreadable_path(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"{tmp_path}/{path}")
    (problem,) = caught.value.problems
    assert str(problem) == f"{tmp_path}/{path}: cannot be read ({reason}); check the path and its permissions"


ROUND_TRIPS = [
    Config(),
    Config(
        Meter(("wan", "wg*"), (), Direction.EGRESS, Hook.XDP, LEVELS["full"], Tunnels.OUTER, 7, 8, 9),
        Sampling(SamplingMode.SYSTEMATIC, 1000),
        (
            Collector("a", Endpoint("fe80::1%wan", 1), ExportProtocol.NETFLOW5, Endpoint("::1"), 1, 65507, 1),
            Collector("b", Endpoint("host")),
        ),
    ),
    override(Config(), interfaces=["a,b"], collectors=["[::1]:3", "h"], protocol="9", sampling="3"),
]


@pytest.mark.parametrize("config", ROUND_TRIPS)
def test_what_is_dumped_loads_again(tmp_path: Path, config: Config) -> None:
    assert loaded(tmp_path, dump(config)) == config


BASE = Config(
    Meter(("lan",)),
    collectors=(Collector("a", Endpoint("h1")), Collector("b", Endpoint("h2"), ExportProtocol.NETFLOW9)),
)


def test_options_replace_what_the_file_says() -> None:
    config = override(BASE, interfaces=["wan", "wg* wan"], sampling="10", timeouts=["active=2m", "idle=5"])
    assert config.meter == replace(BASE.meter, interfaces=("wan", "wg*"), active_timeout=120, idle_timeout=5)
    assert config.sampling == Sampling(SamplingMode.SYSTEMATIC, 10)
    assert config.collectors == BASE.collectors
    assert override(BASE) == BASE


def test_a_protocol_without_collectors_is_for_those_of_the_file() -> None:
    assert [one.protocol for one in override(BASE, protocol="5").collectors] == [ExportProtocol.NETFLOW5] * 2
    assert [one.port for one in override(BASE, protocol="5").collectors] == [2055, 2055]


def test_collectors_of_the_command_line_replace_those_of_the_file() -> None:
    config = override(BASE, collectors=["192.0.2.1", "[::1]:9"], protocol="netflow9")
    assert config.collectors == (
        Collector("192.0.2.1", Endpoint("192.0.2.1"), ExportProtocol.NETFLOW9),
        Collector("[::1]:9", Endpoint("::1", 9), ExportProtocol.NETFLOW9),
    )


def test_faults_of_options_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        override(
            BASE,
            interfaces=["a/b"],
            collectors=["h:0", "x", "x"],
            protocol="ipfx",
            sampling="0",
            timeouts=["idel=3", "idle", "active=0"],
            key="ip, yellow",
            elements="default, ttl",
        )
    assert str(caught.value).splitlines() == [
        "--interface a/b: 'a/b' cannot name an interface; write names or globs: wan, wg*",
        "--timeout idel=3: unknown name 'idel'; did you mean idle?",
        "--timeout idle: 'idle' has no '='; write active=SECONDS or idle=SECONDS",
        "--timeout active 0: '0' is out of range; allowed are 1 to 86400 seconds",
        f"--key ip, yellow: 'yellow' is not known; {KEYS}",
        "--sampling 0: '0' is out of range; allowed are 1 to 1000000",
        "--collector h:0: port '0' is out of range; allowed are 1 to 65535",
        "--collector x: is given twice; keep one of the two",
        "--protocol ipfx: 'ipfx' is not known; allowed are netflow5, netflow9, ipfix",
        "--elements default, ttl: 'ttl' is no element; `xflowd elements` lists what there is",
    ]


@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_interface_without_a_name_is_not_the_default_routes(text: str) -> None:
    """As of a shell's variable that is not set."""
    with pytest.raises(ConfigError) as caught:
        override(BASE, interfaces=["wan", text])
    mend = "name one, or leave the option out for that of the default route"
    assert str(caught.value) == f"--interface {text!r}: names no interface; {mend}"


def test_key_and_elements_of_the_command_line() -> None:
    templated = replace(
        BASE, collectors=tuple(replace(one, template="t", elements=("default",)) for one in BASE.collectors)
    )
    config = override(templated, key="proto", elements="default, minimumTTL")
    assert config.meter.key == LEVELS["proto"]
    assert config.elements == ("default", "minimumTTL")
    assert [(one.template, one.elements) for one in config.collectors] == [("", ("default", "minimumTTL"))] * 2
    with pytest.raises(ConfigError) as caught:
        override(BASE, protocol="5", elements="default")
    told = "--elements default: netflow5 has one form of record; choose no elements, or use netflow9 or ipfix"
    assert str(caught.value).splitlines() == [told] * 2


def test_an_option_at_odds_with_the_file_names_the_option() -> None:
    told = "netflow5 cannot tell a sampling rate of 20000; "
    told += "sample at a rate of 16383 or less, or use netflow9 or ipfix"
    five = override(BASE, protocol="5")
    with pytest.raises(ConfigError) as caught:
        override(five, sampling="20000")
    assert str(caught.value).splitlines() == [f"--sampling 20000: {told}"] * 2
    sampled = override(replace(BASE, collectors=BASE.collectors[:1]), sampling="20000")
    with pytest.raises(ConfigError) as caught:
        override(sampled, protocol="5")
    assert str(caught.value) == f"--protocol 5: {told}"


NAMES = ["lo", "wan", "wg0", "wg1", "WAN", "wan"]


@pytest.mark.parametrize(
    ("patterns", "found", "missing"),
    [
        ([], [], []),
        (["wg*", "wan"], ["wan", "wg0", "wg1"], []),
        (["*"], ["lo", "wan", "wg0", "wg1", "WAN"], []),
        (["w?n", "eth0", "ppp*", "eth0"], ["wan"], ["eth0", "ppp*"]),
        (["wg[1-9]"], ["wg1"], []),
    ],
)
def test_interfaces(patterns: list[str], found: list[str], missing: list[str]) -> None:
    assert matching(patterns, NAMES) == found
    assert unmatched(patterns, NAMES) == missing
