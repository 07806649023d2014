"""What netifd says over ubus: the device of each of OpenWrt's logical networks."""

from __future__ import annotations

import json
import subprocess
from typing import Any

_SECONDS = 2  # netifd answers within milliseconds, or is not there
_DEVICE_OCTETS = 15  # IFNAMSIZ of linux/if.h, less the closing NUL
#: Without -S, which has it say nothing of what went wrong.
_COMMAND = ("ubus", "-t", str(_SECONDS), "call", "network.interface", "dump")
_MEND = "name devices with interfaces"


def devices() -> dict[str, str]:
    """The device of each network, by the network's name; empty where the network is down.

    Raises OSError, whose message says what is wrong and how to mend it, after three seconds at the latest.
    """
    try:
        done = subprocess.run(
            _COMMAND, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS + 1, check=False, text=True
        )
    except FileNotFoundError:
        raise OSError(f"there is no ubus here to ask: {_MEND}") from None
    except OSError as error:
        raise OSError(f"ubus cannot be run ({error.strerror}): {_MEND}") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"ubus does not answer: start netifd, or {_MEND}") from None
    except UnicodeDecodeError:
        raise OSError(f"ubus answers what is no text: {_MEND}") from None
    if done.returncode:
        told = " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}"
        raise OSError(f"ubus says {told!r}: start netifd, let [agent] user ask it in /usr/share/acl.d, or {_MEND}")
    return _read(done.stdout)


def _read(text: str) -> dict[str, str]:
    """Of netifd's document: {"interface": [{"interface": "wan", "up": true, "l3_device": "pppoe-wan", ...}, ...]}."""
    try:
        return {str(one["interface"]): _device(one) for one in json.loads(text)["interface"]}
    except (ValueError, TypeError, LookupError, RecursionError):
        raise OSError(f"ubus answers {text[:60]!r}, which is not netifd's list of networks: {_MEND}") from None


def _device(network: Any) -> str:
    """It is there while the network is up; what stands below it (`device`) may be another one, say under PPPoE."""
    name = network.get("l3_device")
    if not isinstance(name, str) or not name.isprintable() or " " in name or len(name.encode()) > _DEVICE_OCTETS:
        return ""
    return name
