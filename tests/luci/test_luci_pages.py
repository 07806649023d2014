"""Proves in a real browser that the pages show a router's configuration and change it as rpcd and the agent expect."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lab.agent import COMMAND
from luci.page import Page
from luci.router import Answer, Router, serving

FILE = textwrap.dedent("""\
    config meter
    \tlist interface 'wg*'
    \tlist network 'wan'
    \toption hook 'TC'
    \toption idle_timeout '1m30s'

    config sampling
    \toption mode 'random'
    \toption rate '100'

    config collector 'main'
    \toption address '192.0.2.10:2055'
    \toption protocol '9'
    \toption template 'wide'

    config collector 'lab'
    \toption enabled 'off'
    \toption address '[2001:db8::10]:4739'
    \toption queue '262144'

    config template 'wide'
    \tlist element 'default'
    \tlist element 'minimumTTL'
    """)


def check(file: Path) -> Answer:
    """What `xflowd check` says of the file."""
    done = subprocess.run([*COMMAND, "check", "-c", str(file)], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def router_of(tmp_path: Path, text: str, **settings: Any) -> Iterator[Router]:
    file = tmp_path / "xflowd"
    file.write_text(text)
    checking = lambda command: check(file) if command[1] == "check" else None  # noqa: E731
    with serving(Router(file, **{"execute": checking, **settings})) as router:
        yield router


def opened(chrome: Chrome, router: Router) -> Page:
    return Page(chrome, router).open("config")


@pytest.fixture
def page(chrome: Chrome, tmp_path: Path) -> Iterator[Page]:
    """The page of FILE. Nothing may have been said on the browser's console in the end."""
    with router_of(tmp_path, FILE) as router:
        chrome.get_log("browser")
        yield opened(chrome, router)
        assert chrome.get_log("browser") == []


def test_what_the_file_says_is_shown(page: Page) -> None:
    sections = {s[".type"]: name for name, s in page.router._on_uci_get({"config": "xflowd"})[1]["values"].items()}
    meter, sampling = sections["meter"], sections["sampling"]
    shown = {
        (meter, "network"): ["wan"],
        (meter, "interface"): ["wg*"],
        (meter, "direction"): "automatic",
        (meter, "hook"): "TC",
        (meter, "idle_timeout"): "1m30s",
        (meter, "active_timeout"): "",
        (sampling, "mode"): "any one of each so many packets",
        (sampling, "rate"): "100",
        ("main", "enabled"): True,
        ("lab", "enabled"): False,
        ("agent", "enabled"): True,
    }
    assert {place: page.shown(*place) for place in shown} == shown
    assert page.texts("#cbi-xflowd-collector .td:not(.cbi-section-actions)") == [
        *("main", "", "192.0.2.10:2055", "NetFlow v9"),
        *("lab", "", "[2001:db8::10]:4739", "IPFIX"),
    ]
    assert page.texts("#cbi-xflowd-template .td:not(.cbi-section-actions)") == ["wide", "default, minimumTTL"]
    assert page.texts(".alert-message") == []


def test_saving_what_did_not_change_changes_nothing(page: Page) -> None:
    page.router.calls.clear()
    page.press("Save")
    page.wait(lambda: ("uci", "get") in [call[:2] for call in page.router.calls])
    assert page.changes() == []
    assert page.router.config.read_text() == FILE


def test_changes_reach_the_file_by_the_calls_of_rpcd(page: Page) -> None:
    values = page.router._on_uci_get({"config": "xflowd"})[1]["values"]
    meter, sampling = (
        next(name for name, s in values.items() if s[".type"] == type_) for type_ in ("meter", "sampling")
    )
    page.field(meter, "network").find_element(By.CSS_SELECTOR, "input[value=lan]").click()
    page.field(meter, "interface").find_element(By.CSS_SELECTOR, "input[value='wg*']").click()
    page.choose(meter, "direction", "packets that come in")
    page.choose(meter, "hook", "automatic")
    page.enter(meter, "idle_timeout", "")
    page.enter(meter, "max_flows", "8192")
    page.enter(meter, "key", "full, ipClassOfService")
    page.choose(sampling, "mode", "every packet")
    page.enter("metrics", "listen", "127.0.0.1:9995")
    page.field("lab", "enabled").find_element(By.CSS_SELECTOR, "input").click()
    changes = page.save()
    meant = {"network": ["lan", "wan"], "direction": "ingress", "max_flows": "8192", "key": "full, ipClassOfService"}
    assert (
        "add",
        {"config": "xflowd", "type": "metrics", "name": "metrics", "values": {"listen": "127.0.0.1:9995"}},
    ) in changes
    assert ("set", {"config": "xflowd", "section": meter, "values": meant}) in changes
    gone = {values["section"]: sorted(values["options"]) for method, values in changes if method == "delete"}
    assert gone == {meter: ["hook", "idle_timeout", "interface"], sampling: ["mode", "rate"], "lab": ["enabled"]}
    assert len(changes) == 5
    assert page.router.reloads == 1
    text = page.router.config.read_text()
    assert "list network 'lan'\n\tlist network 'wan'" in text
    assert "option enabled" not in text
    assert check(page.router.config)[0] == 0


def test_collectors_and_templates_come_and_go(page: Page) -> None:
    page.one("#cbi-xflowd-template input.cbi-section-create-name").send_keys("counts")
    page.press("Add template")
    entry = page.wait(lambda: page.field("counts", "element")).find_element(By.CSS_SELECTOR, "input")
    for name in ("sourceIPv4Address", "octetDeltaCount"):
        entry.send_keys(name, Keys.ENTER)
    page.press("Save", ".modal")
    page.wait(lambda: "counts" in page.texts("#cbi-xflowd-template .td"))
    page.one("#cbi-xflowd-collector input.cbi-section-create-name").send_keys("new")
    page.press("Add collector")
    page.wait(lambda: page.field("new", "address"))
    page.enter("new", "address", "flows.example.net:9995")
    page.choose("new", "protocol", "NetFlow v9")
    page.choose("new", "template", "counts")
    page.enter("new", "template_refresh", "30s")
    page.press("Save", ".modal")
    page.wait(lambda: "flows.example.net:9995" in page.texts("#cbi-xflowd-collector .td"))
    page.press("Delete", "[data-section-id=lab]")
    page.wait(lambda: "lab" not in page.texts("#cbi-xflowd-collector .td"))
    page.save()
    text = page.router.config.read_text()
    assert "lab" not in text
    assert "config template 'counts'\n\tlist element 'sourceIPv4Address'\n\tlist element 'octetDeltaCount'\n" in text
    assert "config collector 'new'\n" in text
    for line in (
        "address 'flows.example.net:9995'",
        "protocol 'netflow9'",
        "template 'counts'",
        "template_refresh '30s'",
    ):
        assert f"\toption {line}\n" in text
    assert check(page.router.config)[0] == 0


def test_a_window_that_is_dismissed_leaves_nothing(page: Page) -> None:
    page.one("#cbi-xflowd-collector input.cbi-section-create-name").send_keys("new")
    page.press("Add collector")
    page.wait(lambda: page.field("new", "address"))
    page.press("Dismiss")
    assert page.chrome.find_elements(By.CSS_SELECTOR, ".modal") == []
    page.router.calls.clear()
    page.press("Save")
    page.wait(lambda: ("uci", "get") in [call[:2] for call in page.router.calls])
    assert page.changes() == []


def test_names_are_there_once(page: Page) -> None:
    page.one("#cbi-xflowd-collector input.cbi-section-create-name").send_keys("wide")
    page.press("Add collector")
    page.wait(lambda: page.texts(".alert-message"))
    assert page.texts(".alert-message") == ["There is a section of the name wide already."]
    assert page.chrome.find_elements(By.CSS_SELECTOR, ".modal") == []


@pytest.mark.parametrize(
    ("section", "option", "values"),
    [
        ("meter", "active_timeout", {"0": "1 to 86400 seconds", "15x": "90s", "25h": "1 to 86400"}),
        ("meter", "max_flows", {"0": "between 1 and 4194304", "1.5": "integer", "many": "integer"}),
        ("meter", "as_table", {"as.txt": "whole path"}),
        ("sampling", "rate", {"0": "between 1 and", "2000000": "between 1 and"}),
        ("metrics", "listen", {"9995": "ADDRESS:PORT", "localhost:9995": "ADDRESS:PORT", "[::1]": "ADDRESS:PORT"}),
        ("agent", "user", {"no one": "account"}),
    ],
)
def test_what_the_agent_would_refuse_is_not_sent(page: Page, section: str, option: str, values: dict[str, str]) -> None:
    known = page.router._on_uci_get({"config": "xflowd"})[1]["values"]
    name = next((name for name, one in known.items() if one[".type"] == section), section)
    for value, message in values.items():
        page.enter(name, option, value)
        entry = page.field(name, option).find_element(By.CSS_SELECTOR, "input")
        assert message in (entry.get_attribute("data-tooltip") or ""), value
    page.router.calls.clear()
    page.press("Save & Apply")
    assert "invalid input value" in page.wait(lambda: page.texts(".modal"))[0]
    page.press("Dismiss")
    assert page.changes() == []
    assert page.router.reloads == 0


ADDRESSES = {
    "192.0.2.10": True,
    "192.0.2.10:2055": True,
    "flows.example.net": True,
    "flows.example.net.:65535": True,
    "[2001:db8::1]": True,
    "[2001:db8::1]:4739": True,
    "[fe80::1%wan]:4739": True,
    "2001:db8::1": False,
    "2001:db8::1:4739": False,
    "192.0.2.300:2055": False,
    "192.0.2.10:0": False,
    "192.0.2.10:65536": False,
    "192.0.2.10:": False,
    "-flows.example.net": False,
    "flows example": False,
    "[2001:db8::g]:4739": False,
    "[192.0.2.10]:4739": True,
    "flows-.example.net": False,
    ":2055": False,
}


def test_addresses_are_taken_and_refused_as_the_agent_does(page: Page, tmp_path: Path) -> None:
    page.press("Edit", "[data-section-id=lab]")
    page.wait(lambda: page.texts(".modal"))
    taken = {}
    for address in ADDRESSES:
        page.enter("lab", "address", address)
        entry = page.field("lab", "address").find_element(By.CSS_SELECTOR, "input")
        taken[address] = entry.get_attribute("data-tooltip") is None
    assert taken == ADDRESSES
    section = "config collector 'c{0}'\n\toption address '{1}'\n\toption observation_domain '{0}'\n"
    (file := tmp_path / "all").write_text("".join(section.format(*one) for one in enumerate(ADDRESSES, start=1)))
    faults = check(file)[2]
    refused = [address for n, address in enumerate(ADDRESSES, start=1) if f"[collector c{n}] address:" in faults]
    assert refused == [address for address, fine in ADDRESSES.items() if not fine]


def test_an_address_must_be_given(page: Page) -> None:
    page.press("Edit", "[data-section-id=lab]")
    page.wait(lambda: page.texts(".modal"))
    page.enter("lab", "address", "")
    page.router.calls.clear()
    page.press("Save", ".modal")
    page.wait(
        lambda: (
            "non-empty"
            in (page.field("lab", "address").find_element(By.CSS_SELECTOR, "input").get_attribute("data-tooltip") or "")
        )
    )
    assert page.changes() == []


def test_faults_of_the_file_are_shown(chrome: Chrome, tmp_path: Path) -> None:
    with router_of(tmp_path, "config meter\n\toption idle_timout '15'\n\nconfig collector 'main'\n") as router:
        page = opened(chrome, router)
        alert = page.texts(".alert-message")[0]
        assert "does not accept this configuration" in alert
        assert "did you mean idle_timeout?" in alert
        assert "xflowd:4 [collector main]: has no address" in alert.replace("\n", " ")


def test_lists_in_one_option_are_read_and_written_as_lists(chrome: Chrome, tmp_path: Path) -> None:
    with router_of(tmp_path, "config meter 'meter'\n\toption interfaces 'eth0, wg*'\n") as router:
        page = opened(chrome, router)
        assert page.shown("meter", "interface") == ["eth0", "wg*"]
        page.field("meter", "interface").find_element(By.CSS_SELECTOR, "input[value=br-lan]").click()
        page.save()
        assert sorted(router.config.read_text().splitlines()[1:]) == [
            f"\tlist interface '{one}'" for one in ("br-lan", "eth0", "wg*")
        ]
        assert check(router.config)[0] == 0


def test_who_may_only_read_can_change_nothing(chrome: Chrome, tmp_path: Path) -> None:
    with router_of(tmp_path, FILE, writable=False) as router:
        page = opened(chrome, router)
        assert page.texts(".cbi-page-actions button") == []
        assert page.texts(".alert-message") == []
        page.open("status")
        assert [button.is_enabled() for button in chrome.find_elements(By.CSS_SELECTOR, "button")] == [False, False]
        forced = "modules.fs.exec('/usr/bin/xflowd', ['flush']).then(arguments[0], e => arguments[0](e.message))"
        assert chrome.execute_async_script(forced) == "Permission denied"
    chrome.get_log("browser")
