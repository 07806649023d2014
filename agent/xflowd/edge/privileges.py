"""Rights given up for good: what is left is what an agent needs that has loaded its programs.

Linux keeps capabilities for each thread (capabilities(7)), so all this is done while there is one thread.
"""

from __future__ import annotations

import ctypes as c
import os
import pwd
from pathlib import Path

#: <linux/capability.h>. What each is for, and since when it is needed no more: docs/decisions/privileges.md.
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39
#: What is kept, as far as it was there: hot-plugged interfaces and a reload may need it.
KEPT = (CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF)

_CAP_SETPCAP = 8
#: <linux/prctl.h>
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 23, 24, 38
_LINUX_CAPABILITY_VERSION_3 = 0x20080522  # 64 capabilities, as two structs


class PrivilegeError(OSError):
    """Rights could not be given up; the message says which, and how to mend it."""


#: struct __user_cap_header_struct: version, and process, of which 0 is this thread. Two of __user_cap_data_struct:
#: effective, permitted and inheritable, 32 bits of each, the low ones first.
_Header, _Data = c.c_uint32 * 2, c.c_uint32 * 6

_lessened = False

_libc = c.CDLL(None, use_errno=True)  # glibc and musl alike
_libc.prctl.argtypes = [c.c_int, c.c_ulong, c.c_ulong, c.c_ulong, c.c_ulong]
_libc.capget.argtypes = _libc.capset.argtypes = [_Header, _Data]


def require() -> None:
    """Whether this process may load programs and attach them. Raises PrivilegeError."""
    have = _permitted()
    if not have >> CAP_SYS_ADMIN & 1 and not (have >> CAP_BPF & 1 and have >> CAP_NET_ADMIN & 1):
        raise PrivilegeError("metering is not allowed: run as root, or with CAP_BPF and CAP_NET_ADMIN")


def are_lessened() -> bool:
    """Whether drop() was called: what needs more rights takes another process."""
    return _lessened


def drop(user: str | None) -> None:
    """Keep KEPT and lose all other capabilities; become `user`, with its group and the groups it is a member of.

    Call it when programs are loaded, before the first thread is started. Nothing that this process may
    execute from then on has a capability, set-user-ID or not. Without `user` the account stays as it is: root without
    capabilities still owns root's files. Raises PrivilegeError: the agent must not go on then.
    """
    global _lessened  # noqa: PLW0603 - of the process, and for good
    account = _account(user) if user else None
    _require_one_thread()
    _lessened = True
    _lose_bounds()
    if account and not account.pw_uid == os.getuid() == os.geteuid():
        _become(account)
    kept = _permitted() & sum(1 << one for one in KEPT)
    _set_capabilities(kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, what="setting no_new_privs")


def owner(user: str | None) -> tuple[int, int]:
    """The user and group that drop(user) leaves: the agent's files have to be theirs before. Raises PrivilegeError."""
    account = _account(user) if user else None
    return (account.pw_uid, account.pw_gid) if account else (os.geteuid(), os.getegid())


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"[agent] user = {user}: there is no such user: add it, or leave user empty") from None


def _require_one_thread() -> None:
    """Another thread, say one of numpy's OpenBLAS, would keep all that this one loses."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise PrivilegeError(f"cannot give up rights with {threads} threads running: set OPENBLAS_NUM_THREADS=1")


def _lose_bounds() -> None:
    """What is not in the bounding set cannot come back by execve(2). Who may not clear it has no_new_privs alone."""
    if not _permitted() >> _CAP_SETPCAP & 1:
        return
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:  # EINVAL behind the last one this kernel knows
        _prctl(_PR_CAPBSET_DROP, number, what=f"dropping capability {number} from the bounding set")
        number += 1


def _become(account: pwd.struct_passwd) -> None:
    """Groups first, the user last. Permitted capabilities stay for now; the effective ones are gone."""
    user, group = account.pw_uid, account.pw_gid
    _prctl(_PR_SET_KEEPCAPS, 1, what="keeping capabilities")
    try:
        os.initgroups(account.pw_name, group)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError as error:
        name = account.pw_name
        raise PrivilegeError(f"[agent] user = {name}: {error.strerror}: start as root, or as {name}") from None


def _permitted() -> int:
    """This thread's permitted capabilities, bit by bit."""
    data = _Data()
    _require(_libc.capget(_Header(_LINUX_CAPABILITY_VERSION_3, 0), data), "reading capabilities")
    return int(data[1] | data[4] << 32)


def _set_capabilities(kept: int) -> None:
    """Permitted and effective become `kept`; nothing is inheritable, and so nothing ambient."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = _Data(low, low, 0, high, high, 0)
    _require(_libc.capset(_Header(_LINUX_CAPABILITY_VERSION_3, 0), data), "setting capabilities")


def _prctl(option: int, first: int, second: int = 0, *, what: str) -> None:
    _require(_libc.prctl(option, first, second, 0, 0), what)


def _require(result: int, what: str) -> None:
    if result < 0:
        raise PrivilegeError(f"{what}: {os.strerror(c.get_errno())}")
