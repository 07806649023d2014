"""Proves what procd is told by the init script, in busybox's shell: one agent, its triggers, and no flow is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openwrt_router import DEFAULT, HERE, RELOAD, SCRIPT, Router, Words, message, signals


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def test_procd_is_told_of_one_agent(router: Router) -> None:
    directory = router.directory
    assert message(router.run("start")) == {
        "name": "xflowd",
        "instances": {
            "agent": {
                "command": [f"{directory}/bin/xflowd", "run", "-c", f"{directory}/config/xflowd"],
                "respawn": ["3600", "5", "0"],
                "reload_signal": 1,
                "term_timeout": 10,
                "stdout": True,
                "stderr": True,
                "nice": 5,
            }
        },
        "triggers": [
            ["config.change", ["if", ["eq", "package", "xflowd"], RELOAD], 1000],
            ["interface.*", ["if", ["eq", "interface", "wan"], RELOAD], 1000],
        ],
    }


METERS = [
    ("config meter\n\tlist network 'wan'\n\tlist network 'wan6'\n", ["wan", "wan6"]),
    ("config meter\n\toption network 'wan, lan'\n", ["wan", "lan"]),
    ("config meter 'named'\n\toption network 'guest'\n\tlist interface 'wg0'\n", ["guest"]),
    ("config meter\n\tlist interface 'eth0'\n", []),
    ("config meter\n\toption interfaces 'eth0'\n", []),
    ("config meter\n", None),  # the default route's, which any network may bring
    ("", None),
]


@pytest.mark.parametrize(("meter", "networks"), METERS)
def test_triggers_follow_the_configuration(router: Router, meter: str, networks: list[str] | None) -> None:
    router.configure(meter + "config collector 'main'\n\toption address '192.0.2.1'\n")
    told = message(router.run("start"))["triggers"]
    assert isinstance(told, list)
    found = [trigger[1][1][2] for trigger in told[1:] if trigger[1][0] == "if"]
    assert found == (networks or [])
    assert (told[-1] == ["interface.*", [RELOAD], 2000]) == (networks is None)


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ("config agent\n\toption enabled '0'\nconfig collector 'a'\n", ""),
        ("config agent\n\toption enabled 'off'\nconfig collector 'a'\n", ""),
        (DEFAULT.read_text(), ""),  # nothing runs before somebody has said where flows go
        ("config meter\n", "no collector is enabled"),
        ("config collector 'a'\n\toption enabled '0'\n", "no collector is enabled"),
    ],
)
def test_nothing_is_started_that_is_not_wanted(router: Router, configuration: str, reason: str) -> None:
    router.configure(configuration)
    told = message(router.run("start"))
    assert not told["instances"]
    assert told["triggers"], "or a change of the configuration would never start it"
    assert reason in router.logged
    assert bool(reason) == bool(router.logged)


def test_a_faulty_configuration_is_refused_and_told(router: Router) -> None:
    why = "xflowd: /etc/config/xflowd:3 [meter] idle_timeout: not a time"
    router.refuse(why)
    told = message(router.run("start"))
    assert not told["instances"]
    assert told["triggers"]
    assert why in router.logged
    assert "-t xflowd -p daemon.err" in router.logged
    router.run("check")
    assert router.done.returncode == 1


@pytest.mark.parametrize("nice", ["", "\toption nice '0'\n", "\toption nice 'low'\n"])
def test_no_nice_but_a_number(router: Router, nice: str) -> None:
    router.configure(f"config agent\n{nice}config collector 'a'\n")
    instances = message(router.run("start"))["instances"]
    assert isinstance(instances, dict)
    assert "nice" not in instances["agent"]


def test_a_reload_tells_the_agent_that_runs(router: Router) -> None:
    router.running()
    router.refuse("a fault: the agent itself will say so, and go on as before")
    calls = router.run("reload")
    assert message(calls)["instances"], "or procd would end it"
    assert signals(calls) == [["procd_send_signal", "xflowd", "agent", "HUP"]]


def test_a_reload_starts_what_does_not_run(router: Router) -> None:
    calls = router.run("reload")
    assert message(calls)["instances"]
    assert signals(calls) == [], "a SIGHUP would come before it is minded"


def test_why_there_is_no_agent_is_told_once(router: Router) -> None:
    router.configure("config meter\n")
    for action in ("restart", "reload"):
        (router.directory / "logged").unlink(missing_ok=True)
        router.running()
        (router.directory / "stopped").unlink(missing_ok=True)
        router.run(action)
        assert router.logged.count("no collector is enabled") == 1


def test_a_reload_ends_what_is_disabled(router: Router) -> None:
    router.running()
    router.configure(DEFAULT.read_text())
    calls = router.run("reload")
    assert not message(calls)["instances"]
    assert signals(calls) == []


KILL, LEAVE = ["procd_kill", "xflowd"], ["procd_send_signal", "xflowd", "agent", "QUIT"]


@pytest.mark.parametrize(
    ("action", "environment", "expected"),
    [
        ("stop", {}, [KILL]),  # SIGTERM: what is in the table is sent, and the host is as it was
        ("stop", {"PKG_UPGRADE": "0"}, [KILL]),
        ("stop", {"PKG_UPGRADE": "1"}, [LEAVE, KILL]),  # the next version takes the table over
        ("restart", {}, [LEAVE, KILL]),
    ],
)
def test_the_table_stays_for_a_successor(
    router: Router, action: str, environment: dict[str, str], expected: list[Words]
) -> None:
    router.running()
    calls = router.run(action, **environment)
    assert signals(calls) == expected
    assert bool(message(calls)["instances"]) == (action == "restart")


def test_a_restart_with_a_faulty_configuration_changes_nothing(router: Router) -> None:
    router.running()
    router.refuse("a fault")
    assert router.run("restart") == []
    assert router.done.returncode == 1


@pytest.mark.parametrize("environment", [{}, {"PKG_UPGRADE": "1"}])
def test_a_restart_of_what_is_disabled_leaves_nothing_behind_and_says_so(
    router: Router, environment: dict[str, str]
) -> None:
    router.running()
    router.configure(DEFAULT.read_text())
    calls = router.run("restart", **environment)
    assert signals(calls) == [KILL]
    assert not message(calls)["instances"]
    assert router.done.stdout == "xflowd is disabled: option enabled '0'\n"


@pytest.mark.parametrize(
    ("ends_after", "waited"),
    [(0, 0), (2, 2), (60, 5)],  # seconds: what is left is sent, and nobody holds up a shutdown for ever
)
def test_a_shutdown_waits_for_the_last_flows(router: Router, ends_after: int, waited: int) -> None:
    router.running()
    calls = router.run("shutdown", ENDS_AFTER=str(ends_after))
    assert calls == [KILL] + waited * [["sleep", "1"]]


def test_a_shutdown_waits_for_nobody_where_nothing_runs(router: Router) -> None:
    assert router.run("shutdown", ENDS_AFTER="60") == [KILL]


@pytest.mark.parametrize("action", ["stop", "shutdown"])
@pytest.mark.parametrize("is_ending", [True, False])
def test_a_network_that_goes_down_brings_nothing_back(router: Router, action: str, is_ending: bool) -> None:
    """procd keeps the triggers while the agent ends, and a reload may wait for the lock that the stop has."""
    router.running()
    router.run(action)
    router.running(is_ending)
    assert router.run("reload") == []
    assert message(router.run("start"))["instances"]
    assert signals(router.run("reload")) == [["procd_send_signal", "xflowd", "agent", "HUP"]]


@pytest.mark.parametrize(("is_running", "is_stopped", "code"), [(True, False, 0), (False, False, 1), (True, True, 1)])
def test_who_was_told_to_end_does_not_count_as_running(
    router: Router, is_running: bool, is_stopped: bool, code: int
) -> None:
    if is_stopped:
        router.run("stop")
    router.running(is_running)
    router.run("running")
    assert router.done.returncode == code


CHECK = f"""\
exec {sys.executable} -c '
import sys
sys.modules["prometheus_client"] = None
from xflowd.cli import main
sys.exit(main(sys.argv[1:]))' "$@"
"""
METRICS = "config metrics\n\toption listen '127.0.0.1:9995'\n"
TABLE = "config meter\n\toption as_table '/nowhere/as.txt'\n"
USER = "config agent\n\toption user 'nobody-of-this-name'\n"


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ("", ""),
        (METRICS, "the package prometheus_client is missing"),
        (USER, "there is no user"),
        (TABLE, ""),  # the disk that it is on may come
        (TABLE + METRICS, "the package prometheus_client is missing"),
    ],
)
def test_a_start_that_cannot_succeed_is_refused_and_told(router: Router, sections: str, told: str) -> None:
    """By the command itself, on a host without that package."""
    router.command("xflowd", CHECK)
    router.configure(f"{sections}config collector 'a'\n\toption address '192.0.2.1'\n")
    assert bool(message(router.run("start"))["instances"]) == (not told)
    assert told in router.logged
    assert bool(told) == bool(router.logged)
    assert "as_table" not in router.logged
    if told:
        router.running()
        assert router.run("restart") == [], "the one that runs is left alone"


def test_it_is_a_script_of_rc_common() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert lines[0] == "#!/bin/sh /etc/rc.common"
    assert {"USE_PROCD=1", "START=50"} <= set(lines)
    assert SCRIPT.stat().st_mode & 0o111


def test_shellcheck_has_nothing_to_say() -> None:
    command = ["shellcheck", str(SCRIPT), str(HERE / "openwrt_rc.common")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
