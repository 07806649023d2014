"""Where every packet went, in a few lines: seen = in flows + overflow + sampled out + not metered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from xflowd import status
from xflowd.collectors import CollectorSink
from xflowd.notices import counted
from xflowd.pipeline import Pipeline
from xflowd.status import AgentUse

_OUTCOMES = {
    "PACKETS_SAMPLED_OUT": "sampled out",
    "PACKETS_NOT_IP": "not IP",
    "PACKETS_TOO_SHORT": "too short",
    "PACKETS_MALFORMED": "malformed",
    "PACKETS_JUMBOGRAM": "jumbogram",
    "PACKETS_UNCOUNTED": "lost: table and overflow records full",
}


def not_metered(outcomes: Mapping[str, int]) -> int:
    """Packets that ended in no flow, sampling apart (ignoredPacketTotalCount, IANA 164)."""
    return sum(status.not_metered(status.packets(outcomes)).values())


def packets(pipeline: Pipeline) -> str:
    """The equation of all packets seen."""
    outcomes = pipeline.outcomes()
    flows = counted(sum(pipeline.counters.flows.values()), "flow")
    terms = [f"{pipeline.counters.packet_total_count:,} in {flows}"]
    terms += [f"{outcomes[name]:,} {text}" for name, text in _OUTCOMES.items() if outcomes[name]]
    return f"{counted(outcomes['PACKETS_SEEN'], 'packet')} seen = {' + '.join(terms)}"


def summary(pipeline: Pipeline, collectors: Sequence[CollectorSink]) -> Iterator[str]:
    """Packets, flows by the reason of their end, each collector, and what the agent itself has used."""
    yield packets(pipeline)
    ends = [f"{count:,} {reason.name.lower().replace('_', ' ')}" for reason, count in pipeline.counters.flows.items()]
    yield f"{counted(pipeline.counters.octet_total_count, 'octet')}; flows ended by: {', '.join(ends)}"
    for collector in collectors:
        yield collector.summary()
    use = agent_use(0)
    yield f"the agent used {use['cpu_seconds']:.2f} s of CPU and {use['memory_octets'] / 2**20:.0f} MB of memory"


def agent_use(uptime_seconds: float) -> AgentUse:
    """What this process takes of the host; in percent of one CPU over `uptime_seconds`, in which it has run."""
    import psutil  # noqa: PLC0415 - 1 MB, for whoever asks

    me = psutil.Process()
    with me.oneshot():
        times, memory, threads = me.cpu_times(), me.memory_info(), me.num_threads()
    seconds = times.user + times.system
    percent = 100 * seconds / uptime_seconds if uptime_seconds > 0 else 0.0
    return AgentUse(
        cpu_seconds=round(seconds, 2), cpu_percent=round(percent, 2), memory_octets=memory.rss, threads=threads
    )
