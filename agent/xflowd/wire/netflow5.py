"""NetFlow v5: a header and up to 30 records of one fixed form, IPv4 only."""

from __future__ import annotations

from construct import Const, Int8ub, Int16ub, Int32ub, Struct  # type: ignore[import-untyped]

from xflowd.wire.layout import Layout
from xflowd.wire.message import NS_PER_S, MessageHeader
from xflowd.wire.template import Template, fields_of

VERSION = 5
MAXIMUM_RECORDS = 30
MAXIMUM_SAMPLING_INTERVAL = (1 << 14) - 1  # the two high bits of the field are the mode

HEADER = Layout(
    Struct(
        "version" / Const(VERSION, Int16ub),
        "count" / Int16ub,
        "system_uptime" / Int32ub,  # ms
        "unix_seconds" / Int32ub,
        "unix_nanoseconds" / Int32ub,
        "sequence_number" / Int32ub,  # of the first record: counts flows
        "engine_type" / Int8ub,
        "engine_id" / Int8ub,
        "sampling" / Int16ub,  # mode in 2 bits, interval in 14
    )
)

#: The record as if a template had told of it, so that one way packs and unpacks all three protocols.
RECORD = Template(
    VERSION,
    fields_of(
        "sourceIPv4Address destinationIPv4Address ipNextHopIPv4Address ingressInterface/2 egressInterface/2"
        " packetDeltaCount/4 octetDeltaCount/4 flowStartSysUpTime flowEndSysUpTime"
        " sourceTransportPort destinationTransportPort paddingOctets/1 tcpControlBits/1 protocolIdentifier"
        " ipClassOfService bgpSourceAsNumber/2 bgpDestinationAsNumber/2"
        " sourceIPv4PrefixLength destinationIPv4PrefixLength paddingOctets/2"
    ),
)


def message_header(values: dict[str, int]) -> MessageHeader:
    """The header's values in common terms. Engine type and ID together stand for the observation domain."""
    return MessageHeader(
        version=VERSION,
        export_unix_ns=values["unix_seconds"] * NS_PER_S + values["unix_nanoseconds"],
        sequence_number=values["sequence_number"],
        observation_domain=values["engine_type"] << 8 | values["engine_id"],
        uptime_ms=values["system_uptime"],
        sampling_mode=values["sampling"] >> 14,
        sampling_interval=values["sampling"] & MAXIMUM_SAMPLING_INTERVAL,
    )
