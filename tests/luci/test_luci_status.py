"""Proves in a real browser that the status page tells what a real agent answers, and what its buttons do."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from lab import traffic
from lab.agent import COMMAND, Agent
from lab.process import wait_until
from lab.topology import LINKS, Network, router_network
from luci.page import Page
from luci.router import Answer, Router, serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")
INIT = Path(__file__).resolve().parents[2] / "init" / "xflowd.init"
FILE = f"""\
config meter
\tlist interface 'lan'
\tlist interface 'wan'

config collector 'only'
\toption address '{LINKS["collector"].host4}:2055'
\toption protocol 'netflow9'
"""


class Standing:
    """A router network whose pages are served: commands run in the router, the init script's calls are kept."""

    def __init__(self, network: Network, directory: Path) -> None:
        self.network = network
        self.init_calls: list[list[str]] = []
        self.init_says = ""
        (file := directory / "xflowd").write_text(FILE)
        self.router = Router(file, self.execute, poll_seconds=0.3)
        self.start()

    def start(self) -> None:
        self.agent = Agent(self.network.router, "-c", self.router.config)
        wait_until(lambda: self.execute(["/usr/bin/xflowd", "status", "--json"])[0] == 0, "an answer")

    def execute(self, command: list[str]) -> Answer:
        if command[0] != "/usr/bin/xflowd":
            self.init_calls.append(command)
            return 0, self.init_says, ""
        arguments = [str(self.router.config) if one == "/etc/config/xflowd" else one for one in command[1:]]
        done = subprocess.run(
            self.network.router.argv(*COMMAND, *arguments), capture_output=True, text=True, check=False, timeout=20
        )
        return done.returncode, done.stdout, done.stderr

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.execute(["/usr/bin/xflowd", "status", "--json"])[1])
        return document


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    directory = tmp_path_factory.mktemp("luci")
    with router_network(directory, ipv6=False) as network:
        standing = Standing(network, directory)
        traffic.ping(network.a, LINKS["b"].host4, 20)
        with serving(standing.router):
            yield standing
        assert standing.agent.stop() == 0


@pytest.fixture
def page(chrome: Chrome, standing: Standing) -> Iterator[Page]:
    chrome.get_log("browser")
    yield Page(chrome, standing.router).open("status")
    chrome.get("about:blank")  # asks no more
    assert chrome.get_log("browser") == []


def section(page: Page, title: str) -> str:
    """The text of one section, as somebody reads it."""
    return next(text for text in page.texts(".cbi-section") if text.startswith(title))


def rows(page: Page, title: str) -> list[dict[str, str]]:
    """A section's table: of each row its cells by their titles."""
    script = """
        const section = Array.from(document.querySelectorAll('.cbi-section')).find(
            node => node.querySelector('h3').innerText === arguments[0]);
        return Array.from(section.querySelectorAll('tr:not(.table-titles)'), row => Object.fromEntries(
            Array.from(row.querySelectorAll('td'), cell => [cell.dataset.title, cell.innerText])));
    """
    found: list[dict[str, str]] = page.chrome.execute_script(script, title)
    return found


def poll(chrome: Chrome) -> None:
    """What the page does every 5 seconds, now."""
    chrome.execute_async_script("Promise.all(modules.poll.tasks.map(task => task())).then(arguments[0])")


def number(text: str) -> int:
    """Of '20' as of '3 not IP, 1 malformed', the sum."""
    return sum(int(word.replace(",", "")) for word in text.split() if word[0].isdigit())


def test_each_interface_s_equation_is_the_agents(page: Page, standing: Standing) -> None:
    table = page.wait(lambda: found if (found := rows(page, "Packets"))[-1].get("+ on their way", "0") == "0" else None)
    points = {point["name"]: point for point in standing.document()["interfaces"]}
    assert [row["Interface"] for row in table] == ["lan ingress by TC", "wan ingress by TC", "All interfaces"]
    for row in table:
        terms = [number(text) for title, text in row.items() if title[0] in "=+"]
        assert number(row["Seen"]) == sum(terms) >= 20
    for row in table[:-1]:
        assert number(row["Seen"]) == points[row["Interface"].split()[0]]["packets"]["seen"]
        assert row["Coverage"] == "100.00 %"
    assert number(table[-1]["Seen"]) == sum(number(row["Seen"]) for row in table[:-1])


def test_table_collector_and_agent_are_told(page: Page, standing: Standing) -> None:
    status = standing.document()
    assert f"{status['flows']['live']:,} flows live" in section(page, "Flow table")
    assert "Timeouts: active 60 s, idle 15 s" in section(page, "Flow table")
    (only,) = rows(page, "Collectors")
    assert only["Collector"] == "only"
    assert only["Address"] == "netflow9 to 192.0.2.10:2055"
    assert f"xflowd {status['version']}, process {status['pid']}, up " in section(page, "Agent")


def test_flows_are_exported_at_once(page: Page, standing: Standing) -> None:
    traffic.ping(standing.network.a, LINKS["b"].host4, 5)
    page.wait(lambda: number(rows(page, "Packets")[-1]["+ in the table"]) > 0)
    page.press("Export all flows now")
    page.wait(lambda: rows(page, "Packets")[-1]["+ in the table"] == "0")
    assert ("file", "exec", {"command": "/usr/bin/xflowd", "params": ["flush"], "env": None}) in standing.router.calls
    page.wait(lambda: number(rows(page, "Collectors")[0]["Flows"]) >= 2)
    assert len(page.texts(".alert-message.info")) == 1


def test_restart_is_the_init_scripts(page: Page, standing: Standing) -> None:
    standing.init_calls.clear()
    page.press("Restart")
    page.wait(lambda: page.texts(".alert-message.info") == ["The agent was started again."])
    assert standing.init_calls == [["/etc/init.d/xflowd", "restart"]]


def test_a_restart_that_starts_nothing_says_why(page: Page, standing: Standing) -> None:
    (said,) = re.findall(r'echo "\$NAME (is disabled.*)"', INIT.read_text())
    standing.init_says = f"xflowd {said}\n"
    try:
        page.press("Restart")
        page.wait(lambda: page.texts(".alert-message.info") == ["xflowd is disabled: option enabled '0'"])
    finally:
        standing.init_says = ""


def test_a_change_on_one_page_shows_on_the_other(page: Page, standing: Standing) -> None:
    page.open("config")
    page.one("#cbi-xflowd-collector input.cbi-section-create-name").send_keys("second")
    page.press("Add collector")
    page.wait(lambda: page.field("second", "address"))
    page.enter("second", "address", "10.255.255.1")  # nowhere: this router has no route to it
    page.press("Save", ".modal")
    page.wait(lambda: "10.255.255.1" in page.texts("#cbi-xflowd-collector .td"))
    page.save()
    assert standing.router.reloads == 1
    standing.agent.hang_up()  # what procd does at config.change, by the init script
    page.open("status")
    page.wait(lambda: len(rows(page, "Collectors")) == 2)
    second = page.wait(lambda: row if (row := rows(page, "Collectors")[1])["State"] != "OK" else None)
    assert second["Address"] == "ipfix to 10.255.255.1:4739"
    assert "unreachable" in second["State"]
    assert f"Collector second: {second['State']}" in page.wait(lambda: page.texts(".alert-message.warning"))[0]


def test_silence_is_told_and_ends(page: Page, standing: Standing) -> None:
    assert standing.agent.stop() == 0
    alerts = page.wait(
        lambda: found if "No agent answers" in (found := page.texts(".alert-message.warning"))[0] else None
    )
    assert len(alerts) == 1
    assert "xflowd: no agent answers" in alerts[0]
    assert page.texts(".cbi-section") == []
    standing.start()
    page.wait(lambda: page.texts(".cbi-section"))
    assert "No agent answers" not in "".join(page.texts(".alert-message"))


Change = Callable[[dict[str, Any]], None]


def point_of(values: dict[str, Any]) -> Change:
    return lambda document: document["interfaces"][0].update(values)


def low_coverage(document: dict[str, Any]) -> None:
    document["interfaces"][0] |= {"coverage_percent": 98.99, "kernel": {"packets": 5000, "octets": 1}}


def sampled(document: dict[str, Any]) -> None:
    document["interfaces"][0]["packets"] |= {"sampled_out": 12345, "too_short": 7, "overflow": 3}
    document["interfaces"][0]["placed"] = None
    document["interfaces"][0]["in_flows"] = 777


SHOWN: dict[str, tuple[Change, list[str]]] = {
    "low coverage": (low_coverage, ["lan ingress: only 98.99 % of what the kernel has counted passed the meter"]),
    "refused": (
        lambda document: document["refused"].append({"name": "wg0", "direction": "egress", "reason": "no <b>way</b>"}),
        ["wg0 egress is not metered: no <b>way</b>"],  # as text
    ),
    "lost": (lambda document: document["totals"]["not_metered"].update(lost=12345), ["12,345 packets were lost"]),
    "sampled": (sampled, ["+ sampled out", "12,345", "+ in flows", "777", "7 too short", "+ overflow"]),
    "nearly full": (
        lambda document: document["timeouts"].update(idle_in_force=3.0),
        ["idle 15 s, now 3 s: the table is nearly full"],
    ),
    "gone": (point_of({"kernel": None, "coverage_percent": None}), ["lan ingress by TC"]),
    "no collector": (lambda document: document["collectors"].clear(), ["No collector is configured"]),
    "not sent": (
        lambda document: document["collectors"][0].update(flows_not_sent={"queue_full": 4321, "other": 0}),
        ["4,321 queue full"],
    ),
    "past error": (
        lambda document: document["collectors"][0].update(
            trouble=None, last_error={"text": "refused", "seconds_ago": 61.5}
        ),
        ["OK; 0h 1m 1s ago: refused"],
    ),
    "another version": (lambda document: document.pop("totals"), ["An agent of another version answers"]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_document_can_say_is_shown(chrome: Chrome, standing: Standing, name: str) -> None:
    change, texts = SHOWN[name]
    change(document := standing.document())
    with serving(Router(standing.router.config, lambda _: (0, json.dumps(document), ""))) as router:
        page = Page(chrome, router).open("status")
        whole = page.one("#view").text
        chrome.get("about:blank")
    assert [text for text in texts if text not in whole] == []
    assert chrome.get_log("browser") == []


def test_rates_are_those_of_a_second(chrome: Chrome, standing: Standing) -> None:
    """Each answer is 5 s later by the agent's own clock, however soon it is asked for; another process begins anew."""
    document = standing.document()
    asked = 0

    def later(_command: list[str]) -> Answer:
        nonlocal asked
        answer, asked = copy.deepcopy(document), asked + 1
        answer["uptime_seconds"] += 5 * asked
        answer["pid"] += asked >= 3
        answer["totals"]["seen"] += 10_000 * asked
        answer["interfaces"][0]["packets"]["seen"] += 500 * asked
        answer["collectors"][0]["octets_sent"] += 7_500_000 * asked
        return 0, json.dumps(answer), ""

    def rates() -> list[str]:
        octets = rows(page, "Collectors")[0]["Octets"]
        return [row["Rate"] for row in rows(page, "Packets")] + [octets.partition("(")[2].rstrip(")")]

    def polled() -> list[str]:
        poll(chrome)
        return rates()

    with serving(Router(standing.router.config, later, poll_seconds=3600)) as router:
        page = Page(chrome, router).open("status")
        assert rates() == ["-", "-", "-", "-"]
        assert polled() == ["100.0 /s", "0.0 /s", "2.0 K/s", "1.5 MB/s"]
        assert polled() == ["-", "-", "-", "-"]
        assert polled() == ["100.0 /s", "0.0 /s", "2.0 K/s", "1.5 MB/s"]


def test_a_program_that_is_not_there_is_told(chrome: Chrome, standing: Standing) -> None:
    with serving(Router(standing.router.config)) as router:
        page = Page(chrome, router).open("status")
        assert page.texts(".alert-message") == ["No agent answers\n\n/usr/bin/xflowd is not installed"]
        chrome.get("about:blank")


def test_a_page_out_of_view_asks_nothing(chrome: Chrome, standing: Standing) -> None:
    document, asked = json.dumps(standing.document()), 0

    def answer(_command: list[str]) -> Answer:
        nonlocal asked
        asked += 1
        return 0, document, ""

    with serving(Router(standing.router.config, answer, poll_seconds=3600)) as router:
        Page(chrome, router).open("status")
        poll(chrome)
        assert asked == 2
        chrome.execute_script("Object.defineProperty(document, 'hidden', { value: true })")
        poll(chrome)
        assert asked == 2


def test_no_figure_is_cut_off_on_a_phone(chrome: Chrome, standing: Standing) -> None:
    size = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for name in ("status", "config"):
            page = Page(chrome, standing.router).open(name)
            assert chrome.execute_script("return document.documentElement.scrollWidth") <= 360
            assert page.chrome.find_elements(By.CSS_SELECTOR, ".cbi-section")
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chrome.get("about:blank")
