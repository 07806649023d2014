"""Proves what happens when the package is installed and upgraded, by opkg's order of scripts and by apk's."""

from __future__ import annotations

from pathlib import Path

import pytest
from openwrt_buildroot import Buildroot
from openwrt_router import Router, Words, message

#: What each runs of a package, in this order; the package's own script is `postinst`. opkg runs the `prerm` of the
#: version before; of apk's scripts only that of the new one, which calls the package's own at its end.
ORDERS = {
    "opkg": "service stop; (. ./postinst); service start",
    "apk": "service start; . ./postinst",
}
LEAVE, KILL = ["procd_send_signal", "xflowd", "agent", "QUIT"], ["procd_kill", "xflowd"]
KNOWN = ["killall", "-HUP", "ubusd"]
START = ["procd_open_instance", "agent"]


@pytest.fixture(scope="module")
def postinst(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As it is in the package."""
    buildroot = Buildroot(tmp_path_factory.mktemp("source"), Path("/usr/aarch64-linux-gnu/include")).add()
    return buildroot.make("net/xflowd", "postinst-xflowd")


@pytest.fixture
def router(tmp_path: Path, postinst: str) -> Router:
    router = Router(tmp_path)
    assert "/etc/init.d/xflowd" in postinst
    (tmp_path / "postinst").write_text(postinst.replace("/etc/init.d/xflowd", "service"))
    return router


def steps(router: Router, script: str, **environment: str) -> list[Words]:
    """What of the calls says who ends, starts, or reads again."""
    calls = router.execute(f"cd {router.directory}; {script}", **environment)
    return [call for call in calls if call in (LEAVE, KILL, KNOWN, START)]


@pytest.mark.parametrize(
    ("order", "is_running", "expected"),
    [
        ("opkg", True, [LEAVE, KILL, KNOWN, START]),
        ("apk", True, [START, KNOWN, LEAVE, KILL, START]),  # what runs already, and is the same to procd: not started
        ("opkg", False, [LEAVE, KILL, KNOWN, START]),
        ("apk", False, [START, KNOWN, LEAVE, KILL, START]),
    ],
)
def test_an_upgrade_ends_the_old_agent_and_leaves_the_table(
    router: Router, order: str, is_running: bool, expected: list[Words]
) -> None:
    router.running(is_running)
    assert steps(router, ORDERS[order], PKG_UPGRADE="1") == expected


def test_an_agent_that_still_ends_is_not_ended_twice(router: Router) -> None:
    """opkg does not wait for it."""
    router.running()
    order = ORDERS["opkg"].replace("stop;", "stop; touch $RUNNING;")
    assert steps(router, order, PKG_UPGRADE="1") == [LEAVE, KILL, KNOWN, START]


def test_an_agent_whose_configuration_the_new_version_refuses_goes_on(router: Router) -> None:
    router.running()
    router.refuse("a fault")
    assert steps(router, ORDERS["apk"], PKG_UPGRADE="1") == [START, KNOWN]
    assert router.done.returncode == 0, "or the package would count as broken"
    assert "a fault" in router.logged


@pytest.mark.parametrize("order", ["(. ./postinst); service start", ORDERS["apk"]])
def test_a_first_installation_has_ubusd_read_the_rights_and_restarts_nothing(router: Router, order: str) -> None:
    router.configure("config agent\n\toption enabled '0'\n")
    assert steps(router, order) == [KNOWN]
    router.configure("config collector 'kept'\n")  # by an installation before
    assert sorted(steps(router, order)) == sorted([KNOWN, START])


def test_nothing_is_done_where_an_image_is_built(router: Router) -> None:
    router.running()
    assert steps(router, ". ./postinst", IPKG_INSTROOT="/somewhere", PKG_UPGRADE="1") == []


def test_an_upgrade_of_what_is_disabled_meanwhile_leaves_nothing_behind(router: Router) -> None:
    for order in ORDERS.values():
        router.running()
        router.configure("config agent\n\toption enabled '0'\nconfig collector 'a'\n")
        calls = router.execute(f"cd {router.directory}; {order}", PKG_UPGRADE="1")
        assert LEAVE not in calls
        assert not message(calls)["instances"]
