"""A router's web server as far as the pages ask it: views, LuCI's stand-in, and ubus by JSON-RPC with rpcd's rights.

Message format and status codes are those of uhttpd-mod-ubus and rpcd; a session may do what the package's ACL file and
LuCI's own basic one (here `BASIC`) grant it.
"""

from __future__ import annotations

import copy
import fnmatch
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from luci.uci import Package

HERE = Path(__file__).resolve().parent
APP = HERE.parents[1] / "packaging" / "openwrt" / "luci-app-xflowd"
ACL = APP / "root/usr/share/rpcd/acl.d/luci-app-xflowd.json"
MENU = APP / "root/usr/share/luci/menu.d/luci-app-xflowd.json"
SESSION = "0123456789abcdef0123456789abcdef"
OK, INVALID, NO_METHOD, NOT_FOUND, NO_DATA, DENIED = 0, 2, 3, 4, 5, 6
DENIED_BY_UHTTPD = -32002
#: What LuCI grants every session beside our file, of what our pages call.
BASIC: dict[str, Any] = {
    "read": {
        "ubus": {"luci-rpc": ["getNetworkDevices"], "network.interface": ["dump"], "uci": ["changes", "get"]},
    },
    "write": {"ubus": {"file": ["exec"], "uci": ["add", "apply", "confirm", "delete", "order", "set"]}},
}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>OpenWrt - LuCI</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/runtime/style.css"></head>
<body><header><strong>OpenWrt</strong>{tabs}</header><div id="maincontent"><div id="view"></div></div>
{scripts}<script>L.env.sessionid = '{session}'; L.env.writable = {writable}; {extra}
L.require('view.{view}').catch(error => console.error(error));</script></body></html>
"""
SCRIPTS = ("base.js", "rpc.js", "widgets.js", "form.js", "options.js")
Answer = tuple[int, str, str]  # exit code, standard output, standard error


def no_command(_command: list[str]) -> Answer | None:
    """A router without xflowd."""
    return None


@dataclass
class Router:
    """One router and one session. `execute` runs a command, or gives None where there is none of that name."""

    config: Path
    execute: Callable[[list[str]], Answer | None] = no_command
    writable: bool = True
    devices: tuple[str, ...] = ("lo", "eth0", "br-lan", "wg0")
    networks: tuple[str, ...] = ("loopback", "lan", "wan", "wan6")
    poll_seconds: float = 5.0
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    reloads: int = 0  # how often procd was told that the configuration has changed
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.staged: Package | None = None
        own = json.loads(ACL.read_text())["luci-app-xflowd"]
        groups = ("read", "write") if self.writable else ("read",)
        self.rights = [grants.get(group, {}) for grants in (own, BASIC) for group in groups]

    # Rights: the scopes ubus, uci and file, as rpcd's session object matches them.

    def may(self, scope: str, what: str, function: str) -> bool:
        return any(
            fnmatch.fnmatchcase(what, pattern) and function in functions
            for rights in self.rights
            if isinstance(rights.get(scope), dict)
            for pattern, functions in rights[scope].items()
        )

    def may_uci(self, config: str, group: str) -> bool:
        own = json.loads(ACL.read_text())["luci-app-xflowd"]
        return config in own[group]["uci"] and (group == "read" or self.writable)

    # Messages.

    def answer(self, message: Any) -> Any:
        """One message, or those of a batch."""
        if isinstance(message, list):
            return [self.answer(one) for one in message]
        head = {"jsonrpc": "2.0", "id": message.get("id")}
        session, object_, method, values = message["params"]
        with self.lock:
            if message.get("jsonrpc") != "2.0" or message.get("method") != "call" or session != SESSION:
                return {**head, "error": {"code": -32600, "message": "Invalid request"}}
            self.calls.append((object_, method, values))
            if not self.may("ubus", object_, method):
                return {**head, "error": {"code": DENIED_BY_UHTTPD, "message": "Access denied"}}
            code, data = self._call(object_, method, values)
        return {**head, "result": [code] if data is None else [code, data]}

    def _call(self, object_: str, method: str, values: dict[str, Any]) -> tuple[int, Any]:
        name = f"{object_}_{method}".replace("-", "_").replace(".", "_").lower()
        function = getattr(self, f"_on_{name}", None)
        return function(values) if function else (NO_METHOD, None)

    def _on_file_exec(self, values: dict[str, Any]) -> tuple[int, Any]:
        command = [values["command"], *(values.get("params") or [])]
        if not self.may("file", command[0], "exec") and not self.may("file", " ".join(command), "exec"):
            return DENIED, None
        done = self.execute(command)
        if done is None:
            return NOT_FOUND, None
        code, out, err = done
        return OK, {"code": code, **({"stdout": out} if out else {}), **({"stderr": err} if err else {})}

    def _on_luci_rpc_getnetworkdevices(self, _values: dict[str, Any]) -> tuple[int, Any]:
        return OK, {name: {"name": name, "type": 1, "up": True} for name in self.devices}

    def _on_network_interface_dump(self, _values: dict[str, Any]) -> tuple[int, Any]:
        return OK, {"interface": [{"interface": name, "up": True} for name in self.networks]}

    def _on_uci_get(self, values: dict[str, Any]) -> tuple[int, Any]:
        if not self.may_uci(values["config"], "read"):
            return DENIED, None
        return OK, {"values": (self.staged or Package(self.config)).documents()}

    def _changed(self, values: dict[str, Any]) -> Package | None:
        if not self.may_uci(values["config"], "write"):
            return None
        self.staged = self.staged or Package(self.config)
        return self.staged

    def _on_uci_add(self, values: dict[str, Any]) -> tuple[int, Any]:
        package = self._changed(values)
        if package is None:
            return DENIED, None
        return OK, {"section": package.add(values["type"], values.get("name"), values.get("values") or {})}

    def _on_uci_set(self, values: dict[str, Any]) -> tuple[int, Any]:
        package = self._changed(values)
        section = package and package.find(values["section"])
        if not section:
            return (NOT_FOUND if package else DENIED), None
        section.options.update(copy.deepcopy(values["values"]))
        return OK, None

    def _on_uci_delete(self, values: dict[str, Any]) -> tuple[int, Any]:
        package = self._changed(values)
        section = package and package.find(values["section"])
        if not package or not section:
            return (NOT_FOUND if package else DENIED), None
        if values.get("options") is None:
            package.sections.remove(section)
        for name in values.get("options") or ():
            section.options.pop(name, None)
        return OK, None

    def _on_uci_apply(self, values: dict[str, Any]) -> tuple[int, Any]:
        if not isinstance(values.get("rollback"), bool) or not isinstance(values.get("timeout"), int):
            return INVALID, None
        if self.staged is None:
            return NO_DATA, None
        self.staged.write()
        self.staged = None
        self.reloads += 1
        return OK, None

    def _on_uci_confirm(self, _values: dict[str, Any]) -> tuple[int, Any]:
        return OK, None

    # Pages.

    def page(self, path: str) -> str | None:
        """The page of a menu entry, with the tabs of the menu."""
        menu = json.loads(MENU.read_text())
        entry = menu.get(path.removeprefix("/cgi-bin/luci/"), {})
        if entry.get("action", {}).get("type") != "view":
            return None
        links = [(name, one["title"]) for name, one in menu.items() if one["action"]["type"] == "view"]
        return PAGE.format(
            tabs="".join(f' <a href="/cgi-bin/luci/{name}">{title}</a>' for name, title in links),
            scripts="".join(f'<script src="/runtime/{name}"></script>\n' for name in SCRIPTS),
            session=SESSION,
            writable=json.dumps(self.writable),
            extra=f"window.pollSeconds = {self.poll_seconds};",
            view=entry["action"]["path"].replace("/", "."),
        )


class _Handler(BaseHTTPRequestHandler):
    router: Router

    def do_GET(self) -> None:
        roots = {"/luci-static/": APP / "htdocs", "/runtime/": HERE}
        root = next((base for start, base in roots.items() if self.path.startswith(start)), None)
        file = root / self.path[1:] if root else None
        page = self.router.page(self.path)
        if page is not None:
            self._send(200, "text/html; charset=utf-8", page.encode())
        elif file and file.is_file() and ".." not in self.path:
            kind = "text/css" if file.suffix == ".css" else "text/javascript; charset=utf-8"
            self._send(200, kind, file.read_bytes())
        else:
            self._send(404, "text/plain", b"Not found")

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(200, "application/json", json.dumps(self.router.answer(message)).encode())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_values: Any) -> None:
        """Says nothing: the calls are in Router.calls."""


@contextmanager
def serving(router: Router) -> Iterator[Router]:
    """The router at a port of the loopback, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"router": router}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    router.url = f"http://127.0.0.1:{server.server_port}/cgi-bin/luci/admin/services/xflowd"
    try:
        yield router
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
