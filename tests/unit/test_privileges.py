"""Proves that rights which are given up are gone: for the process, for good, and for what it might execute."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys

import pytest

from xflowd.edge.privileges import CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, KEPT, PrivilegeError, owner

NOBODY = pwd.getpwnam("nobody")
CAP_CHOWN = 0
KEPT_MASK = sum(1 << one for one in KEPT)

#: Drops as told by its argument, tells what it is then, and becomes `cat`, which tells what that is.
DROPPING = """
import os, sys
from pathlib import Path
from xflowd.edge.privileges import drop
drop(sys.argv[1] or None)
print(Path("/proc/self/status").read_text(), flush=True)
print("executed:", flush=True)
os.execvp("cat", ["cat", "/proc/self/status"])
"""
#: Drops, and tries to become what it was.
COMING_BACK = """
import os
from xflowd.edge import privileges
privileges.drop("nobody")
for name, attempt in {
    "user": lambda: os.setuid(0),
    "group": lambda: os.setgroups([0]),
    "capabilities": lambda: privileges._set_capabilities(1 << 21),
}.items():
    try:
        attempt()
    except OSError as error:
        print(name, error.__class__.__name__, flush=True)
"""
#: Another thread waits while this one tries to drop; then tells whether anything is lost.
THREADS = """
import threading
from pathlib import Path
from xflowd.edge.privileges import PrivilegeError, drop
done = threading.Event()
other = threading.Thread(target=done.wait)
other.start()
before = Path("/proc/thread-self/status").read_text().split("CapInh")[1].split("Seccomp")[0]
try:
    drop(None)
except PrivilegeError as error:
    print(error)
after = Path("/proc/thread-self/status").read_text().split("CapInh")[1].split("Seccomp")[0]
print("nothing lost" if before == after else after)
done.set()
other.join()
"""

Status = dict[str, list[str]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here")


def python(program: str, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def dropped(user: str, before: tuple[str, ...] = ()) -> tuple[Status, Status]:
    """The status of a process that has dropped, and of what it executed then."""
    done = python(DROPPING, user, before=before)
    assert done.returncode == 0, done.stderr
    dropping, _, executed = done.stdout.partition("executed:\n")
    return status(dropping), status(executed)


def status(text: str) -> Status:
    """/proc/PID/status as words by name."""
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in text.splitlines())}


def capabilities(found: Status, *names: str) -> list[int]:
    return [int(found[f"Cap{name}"][0], 16) for name in names]


def own_permitted() -> int:
    """What this test may keep at most: it may be run with less than everything."""
    with open("/proc/self/status") as file:
        return capabilities(status(file.read()), "Prm")[0]


@needs_root
@pytest.mark.parametrize(("user", "uid", "gid"), [("nobody", NOBODY.pw_uid, NOBODY.pw_gid), ("", 0, os.getegid())])
def test_root_keeps_what_is_needed_and_nothing_else(user: str, uid: int, gid: int) -> None:
    now, executed = dropped(user)
    assert now["Uid"] == [str(uid)] * 4
    assert now["Gid"] == [str(gid)] * 4
    kept = own_permitted() & KEPT_MASK
    assert kept, "there is something to keep"
    assert capabilities(now, "Prm", "Eff", "Inh", "Bnd", "Amb") == [kept, kept, 0, 0, 0]
    assert now["NoNewPrivs"] == ["1"]
    assert capabilities(executed, "Prm", "Eff", "Inh", "Bnd", "Amb") == [0] * 5
    assert executed["NoNewPrivs"] == ["1"]


@needs_root
def test_groups_are_those_of_the_user() -> None:
    now, _ = dropped("nobody")
    assert set(map(int, now["Groups"])) == set(os.getgrouplist("nobody", NOBODY.pw_gid))


@needs_root
def test_there_is_no_way_back() -> None:
    done = python(COMING_BACK)
    told = done.stdout.splitlines()
    assert told == ["user PermissionError", "group PermissionError", "capabilities PrivilegeError"], done.stderr


@needs_root
@needs_setpriv
@pytest.mark.parametrize("user", ["", "nobody"])
@pytest.mark.parametrize(
    "given", [(), (CAP_BPF,), (CAP_BPF, CAP_NET_ADMIN), (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_CHOWN)]
)
def test_who_was_never_root_keeps_at_most_what_it_had(given: tuple[int, ...], user: str) -> None:
    names = {CAP_BPF: "+bpf", CAP_NET_ADMIN: "+net_admin", CAP_PERFMON: "+perfmon", CAP_CHOWN: "+chown"}
    wanted = ",".join(["-all", *(names[one] for one in given)])
    identity = (f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    now, executed = dropped(user, ("setpriv", *identity, f"--inh-caps={wanted}", f"--ambient-caps={wanted}"))
    kept = sum(1 << one for one in given) & KEPT_MASK
    assert capabilities(now, "Prm", "Eff", "Inh", "Amb") == [kept, kept, 0, 0]
    assert now["NoNewPrivs"] == ["1"]
    assert capabilities(executed, "Prm", "Eff", "Inh", "Amb") == [0] * 4


@needs_root
@needs_setpriv
def test_who_cannot_become_the_user_says_how_to_mend_it() -> None:
    less = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    done = python(DROPPING, "daemon", before=less)
    assert done.returncode != 0
    assert "[agent] user = daemon: Operation not permitted: start as root, or as daemon" in done.stderr


def test_files_are_for_whom_the_process_becomes() -> None:
    assert owner("nobody") == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert owner("") == owner(None) == (os.geteuid(), os.getegid())
    with pytest.raises(PrivilegeError, match="no such user"):
        owner("no-such-user")


def test_an_unknown_user_is_told() -> None:
    done = python(DROPPING, "no-such-user")
    assert done.returncode != 0
    assert "[agent] user = no-such-user: there is no such user: add it, or leave user empty" in done.stderr


def test_beside_another_thread_nothing_is_given_up() -> None:
    done = python(THREADS)
    assert done.stdout.splitlines() == [
        "cannot give up rights with 2 threads running: set OPENBLAS_NUM_THREADS=1",
        "nothing lost",
    ], done.stderr
