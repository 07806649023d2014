"""The Information Elements that are sent, and the common ones that other exporters send.

Names, numbers and types are of IANA's "IP Flow Information Export (IPFIX) Entities" registry; 1 to 127 mean
the same in NetFlow v9 (RFC 7012 section 4). What is not listed keeps its number for a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

OUTER = "outer:"  # before the name of an element that is of the header around the flow's own: see template.Field
VARIABLE_LENGTH = 65535  # RFC 7011 section 7: the length stands before each value

#: Octets of each abstract data type at full width (RFC 7011 section 6.1).
TYPE_OCTETS = {
    "unsigned8": 1,
    "unsigned16": 2,
    "unsigned32": 4,
    "unsigned64": 8,
    "signed32": 4,
    "float64": 8,
    "boolean": 1,
    "macAddress": 6,
    "ipv4Address": 4,
    "ipv6Address": 16,
    "dateTimeSeconds": 4,
    "dateTimeMilliseconds": 8,
    "dateTimeMicroseconds": 8,
    "dateTimeNanoseconds": 8,
    "string": VARIABLE_LENGTH,
    "octetArray": VARIABLE_LENGTH,
}


@dataclass(frozen=True, slots=True)
class Element:
    """One Information Element. `octets` is the full width of its type; `enterprise` 0 is IANA itself."""

    name: str
    number: int
    type: str
    octets: int
    meaning: str
    enterprise: int = 0


# number, name, type, meaning
_REGISTRY = """
1 octetDeltaCount unsigned64 octets of the packets, IP header included, in this record
2 packetDeltaCount unsigned64 packets in this record
3 deltaFlowCount unsigned64 flows joined in this record
4 protocolIdentifier unsigned8 IP protocol number
5 ipClassOfService unsigned8 IPv4 TOS or IPv6 traffic class
6 tcpControlBits unsigned16 TCP flags seen, or-ed
7 sourceTransportPort unsigned16 source port
8 sourceIPv4Address ipv4Address source address
9 sourceIPv4PrefixLength unsigned8 bits of the route to the source
10 ingressInterface unsigned32 ifIndex the packets came in by
11 destinationTransportPort unsigned16 destination port
12 destinationIPv4Address ipv4Address destination address
13 destinationIPv4PrefixLength unsigned8 bits of the route to the destination
14 egressInterface unsigned32 ifIndex the packets go out by
15 ipNextHopIPv4Address ipv4Address next hop
16 bgpSourceAsNumber unsigned32 AS of the source
17 bgpDestinationAsNumber unsigned32 AS of the destination
18 bgpNextHopIPv4Address ipv4Address next hop of BGP
19 postMCastPacketDeltaCount unsigned64 multicast packets sent out
20 postMCastOctetDeltaCount unsigned64 multicast octets sent out
21 flowEndSysUpTime unsigned32 last packet, ms after the device's start
22 flowStartSysUpTime unsigned32 first packet, ms after the device's start
23 postOctetDeltaCount unsigned64 octets after the observation point
24 postPacketDeltaCount unsigned64 packets after the observation point
25 minimumIpTotalLength unsigned64 shortest packet, octets
26 maximumIpTotalLength unsigned64 longest packet, octets
27 sourceIPv6Address ipv6Address source address
28 destinationIPv6Address ipv6Address destination address
29 sourceIPv6PrefixLength unsigned8 bits of the route to the source
30 destinationIPv6PrefixLength unsigned8 bits of the route to the destination
31 flowLabelIPv6 unsigned32 flow label
32 icmpTypeCodeIPv4 unsigned16 ICMP type * 256 + code
33 igmpType unsigned8 IGMP message type
34 samplingInterval unsigned32 one packet of so many is counted
35 samplingAlgorithm unsigned8 1 deterministic, 2 random
36 flowActiveTimeout unsigned16 active timeout, s
37 flowIdleTimeout unsigned16 idle timeout, s
38 engineType unsigned8 kind of switching engine
39 engineId unsigned8 number of the switching engine
40 exportedOctetTotalCount unsigned64 octets sent to this collector
41 exportedMessageTotalCount unsigned64 messages sent to this collector
42 exportedFlowRecordTotalCount unsigned64 flow records sent to this collector
43 ipv4RouterSc ipv4Address router shortcut by a switch
44 sourceIPv4Prefix ipv4Address source network
45 destinationIPv4Prefix ipv4Address destination network
46 mplsTopLabelType unsigned8 who gave the top label
47 mplsTopLabelIPv4Address ipv4Address router of the top label
48 samplerId unsigned8 number of the sampler
49 samplerMode unsigned8 1 deterministic, 2 random
50 samplerRandomInterval unsigned32 one packet of so many, at random
51 classId unsigned8 class of the flow
52 minimumTTL unsigned8 lowest TTL or hop limit
53 maximumTTL unsigned8 highest TTL or hop limit
54 fragmentIdentification unsigned32 identification of the fragmented packet
55 postIpClassOfService unsigned8 class of service after the observation point
56 sourceMacAddress macAddress source of the frame
57 postDestinationMacAddress macAddress destination after the observation point
58 vlanId unsigned16 VLAN of the frame
59 postVlanId unsigned16 VLAN after the observation point
60 ipVersion unsigned8 4 or 6
61 flowDirection unsigned8 0 ingress, 1 egress
62 ipNextHopIPv6Address ipv6Address next hop
63 bgpNextHopIPv6Address ipv6Address next hop of BGP
64 ipv6ExtensionHeaders unsigned32 extension headers seen, a bit each
70 mplsTopLabelStackSection octetArray first MPLS label, traffic class, end of the stack
71 mplsLabelStackSection2 octetArray second MPLS label, the same
72 mplsLabelStackSection3 octetArray third MPLS label, the same
80 destinationMacAddress macAddress destination of the frame
81 postSourceMacAddress macAddress source after the observation point
82 interfaceName string name of the interface
83 interfaceDescription string name of the interface in words
84 samplerName string name of the sampler
85 octetTotalCount unsigned64 octets since the flow began
86 packetTotalCount unsigned64 packets since the flow began
87 flagsAndSamplerId unsigned32 flags and number of the sampler
88 fragmentOffset unsigned16 place of the fragment, in units of 8 octets
89 forwardingStatus unsigned8 forwarded, dropped or consumed, and why
94 applicationDescription string the application in words
95 applicationId octetArray engine and number of the application
96 applicationName string name of the application
128 bgpNextAdjacentAsNumber unsigned32 first AS after this one
129 bgpPrevAdjacentAsNumber unsigned32 last AS before this one
130 exporterIPv4Address ipv4Address address of the exporter
131 exporterIPv6Address ipv6Address address of the exporter
132 droppedOctetDeltaCount unsigned64 octets dropped
133 droppedPacketDeltaCount unsigned64 packets dropped
134 droppedOctetTotalCount unsigned64 octets dropped since the start
135 droppedPacketTotalCount unsigned64 packets dropped since the start
136 flowEndReason unsigned8 1 idle, 2 active, 3 end of flow, 4 forced, 5 lack of resources
137 commonPropertiesId unsigned64 number of a set of common properties
138 observationPointId unsigned64 number of the observation point
139 icmpTypeCodeIPv6 unsigned16 ICMPv6 type * 256 + code
140 mplsTopLabelIPv6Address ipv6Address router of the top label
141 lineCardId unsigned32 number of the line card
142 portId unsigned32 number of the port
143 meteringProcessId unsigned32 number of the metering process
144 exportingProcessId unsigned32 number of the exporting process
145 templateId unsigned16 number of a template
146 wlanChannelId unsigned8 channel of the WLAN
147 wlanSSID string name of the WLAN
148 flowId unsigned64 number of the flow
149 observationDomainId unsigned32 number of the observation domain
150 flowStartSeconds dateTimeSeconds first packet
151 flowEndSeconds dateTimeSeconds last packet
152 flowStartMilliseconds dateTimeMilliseconds first packet
153 flowEndMilliseconds dateTimeMilliseconds last packet
154 flowStartMicroseconds dateTimeMicroseconds first packet
155 flowEndMicroseconds dateTimeMicroseconds last packet
156 flowStartNanoseconds dateTimeNanoseconds first packet
157 flowEndNanoseconds dateTimeNanoseconds last packet
158 flowStartDeltaMicroseconds unsigned32 first packet, microseconds before the export
159 flowEndDeltaMicroseconds unsigned32 last packet, microseconds before the export
160 systemInitTimeMilliseconds dateTimeMilliseconds start of the device
161 flowDurationMilliseconds unsigned32 from the first packet to the last, ms
162 flowDurationMicroseconds unsigned32 from the first packet to the last, microseconds
163 observedFlowTotalCount unsigned64 flows seen
164 ignoredPacketTotalCount unsigned64 packets that could not be counted
165 ignoredOctetTotalCount unsigned64 octets that could not be counted
166 notSentFlowTotalCount unsigned64 flow records that were not sent
167 notSentPacketTotalCount unsigned64 packets of flow records that were not sent
176 icmpTypeIPv4 unsigned8 ICMP type
177 icmpCodeIPv4 unsigned8 ICMP code
178 icmpTypeIPv6 unsigned8 ICMPv6 type
179 icmpCodeIPv6 unsigned8 ICMPv6 code
184 tcpSequenceNumber unsigned32 TCP sequence number
185 tcpAcknowledgementNumber unsigned32 TCP acknowledgement number
186 tcpWindowSize unsigned16 TCP window, as it stands in the header
192 ipTTL unsigned8 TTL or hop limit
193 nextHeaderIPv6 unsigned8 first next header
195 ipDiffServCodePoint unsigned8 DSCP of the class of service
196 ipPrecedence unsigned8 precedence of the TOS
197 fragmentFlags unsigned8 64 do not fragment, 32 more fragments
200 mplsTopLabelTTL unsigned8 TTL of the top label
202 mplsLabelStackDepth unsigned32 MPLS labels before the IP header
203 mplsTopLabelExp unsigned8 traffic class of the top label
204 ipPayloadLength unsigned32 octets behind the IP header
205 udpMessageLength unsigned16 length in the UDP header
206 isMulticast unsigned8 multicast bits of the destination
207 ipv4IHL unsigned8 IPv4 header length, in words of four octets
208 ipv4Options unsigned32 IPv4 options seen, a bit each
209 tcpOptions unsigned64 TCP options seen, a bit each
210 paddingOctets octetArray padding
218 tcpSynTotalCount unsigned64 packets with SYN
219 tcpFinTotalCount unsigned64 packets with FIN
220 tcpRstTotalCount unsigned64 packets with RST
221 tcpPshTotalCount unsigned64 packets with PSH
222 tcpAckTotalCount unsigned64 packets with ACK
223 tcpUrgTotalCount unsigned64 packets with URG
225 postNATSourceIPv4Address ipv4Address source address after NAT
226 postNATDestinationIPv4Address ipv4Address destination address after NAT
227 postNAPTSourceTransportPort unsigned16 source port after NAT
228 postNAPTDestinationTransportPort unsigned16 destination port after NAT
230 natEvent unsigned8 what NAT did
231 initiatorOctets unsigned64 octets of the side that began
232 responderOctets unsigned64 octets of the side that answered
233 firewallEvent unsigned8 1 created, 2 deleted, 3 denied, 4 alert, 5 update
234 ingressVRFID unsigned32 VRF the packets came in by
235 egressVRFID unsigned32 VRF the packets go out by
238 tcpWindowScale unsigned16 what the TCP window is to be shifted by
239 biflowDirection unsigned8 how the direction was chosen
243 dot1qVlanId unsigned16 VLAN of the outer tag
244 dot1qPriority unsigned8 priority of the outer tag
245 dot1qCustomerVlanId unsigned16 VLAN of the inner tag
252 ingressPhysicalInterface unsigned32 ifIndex of the port the packets came in by
253 egressPhysicalInterface unsigned32 ifIndex of the port the packets go out by
254 postDot1qVlanId unsigned16 VLAN of the outer tag, after the observation point
256 ethernetType unsigned16 EtherType
258 collectionTimeMilliseconds dateTimeMilliseconds when a collector got it
277 observationPointType unsigned8 1 physical port, 2 port channel, 3 VLAN interface
296 greKey unsigned32 key of the GRE tunnel
302 selectorId unsigned64 number of the selector
303 informationElementId unsigned16 number of an element
304 selectorAlgorithm unsigned16 how packets are selected
305 samplingPacketInterval unsigned32 packets taken in a row
306 samplingPacketSpace unsigned32 packets left out in a row
307 samplingTimeInterval unsigned32 microseconds in which all packets are taken
308 samplingTimeSpace unsigned32 microseconds in which none is taken
309 samplingSize unsigned32 packets taken of each population
310 samplingPopulation unsigned32 packets in each population
311 samplingProbability float64 chance of each packet to be taken
322 observationTimeSeconds dateTimeSeconds when a packet was seen
323 observationTimeMilliseconds dateTimeMilliseconds when a packet was seen
324 observationTimeMicroseconds dateTimeMicroseconds when a packet was seen
325 observationTimeNanoseconds dateTimeNanoseconds when a packet was seen
326 digestHashValue unsigned64 hash of a packet
346 privateEnterpriseNumber unsigned32 number of an enterprise
351 layer2SegmentId unsigned64 kind of overlay (1 VXLAN, 2 NVGRE) * 2^56 + number of the network
352 layer2OctetDeltaCount unsigned64 octets of the frames in this record
353 layer2OctetTotalCount unsigned64 octets of the frames since the flow began
410 sectionExportedOctets unsigned16 octets of the packet that are in this record
507 gtpuTEid unsigned32 tunnel endpoint of GTP-U
"""


def _element(line: str) -> Element:
    number, name, type_, meaning = line.split(" ", 3)
    return Element(name, int(number), type_, TYPE_OCTETS[type_], meaning)


ELEMENTS = tuple(_element(line) for line in _REGISTRY.strip().splitlines())
BY_NAME = {element.name: element for element in ELEMENTS}
BY_NUMBER = {element.number: element for element in ELEMENTS}


@lru_cache(maxsize=4096)
def element_of(number: int, enterprise: int = 0) -> Element:
    """The element of this number. An unknown one is octets: `element_12345`, `enterprise_29305_7`."""
    known = BY_NUMBER.get(number) if enterprise == 0 else None
    if known is not None:
        return known
    name = f"enterprise_{enterprise}_{number}" if enterprise else f"element_{number}"
    return Element(name, number, "octetArray", VARIABLE_LENGTH, "not known here", enterprise)
