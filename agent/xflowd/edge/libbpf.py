"""The system's libbpf, as far as the agent uses it (libbpf 1.1 and up). Declarations only."""

from __future__ import annotations

import ctypes as c
import os
import re
from typing import Any, TypeVar

LIBRARY = "libbpf.so.1"

#: enum bpf_attach_type and XDP flags of <linux/bpf.h>, <linux/if_link.h>: part of the kernel's ABI.
BPF_XDP, BPF_TCX_INGRESS, BPF_TCX_EGRESS = 37, 46, 47
XDP_FLAGS_DRV_MODE = 1 << 2
BPF_NOEXIST = 1
BPF_F_BEFORE = 1 << 3
BPF_F_ANY_ALIGNMENT, BPF_F_XDP_HAS_FRAGS = 1 << 1, 1 << 5
BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS = 2, 12
BPF_F_MMAPABLE = 1 << 10
#: enum bpf_tc_attach_point of <bpf/libbpf.h>.
BPF_TC_INGRESS, BPF_TC_EGRESS = 1, 2
BPF_TC_F_REPLACE = 1


class LibbpfError(OSError):
    """A call of libbpf failed. `errno` and `strerror` are the kernel's, `filename` is what was tried."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class TestRunOptions(c.Structure):
    """struct bpf_test_run_opts"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    ]


class LinkCreateOptions(c.Structure):
    """struct bpf_link_create_opts, up to its flags"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("flags", c.c_uint32),
        ("iter_info", c.c_void_p),
        ("iter_info_len", c.c_uint32),
        ("target_btf_id", c.c_uint32),
    ]


class TcHook(c.Structure):
    """struct bpf_tc_hook"""

    _fields_ = [("sz", c.c_size_t), ("ifindex", c.c_int), ("attach_point", c.c_int), ("parent", c.c_uint32)]


class TcOptions(c.Structure):
    """struct bpf_tc_opts"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("prog_fd", c.c_int),
        ("flags", c.c_uint32),
        ("prog_id", c.c_uint32),
        ("handle", c.c_uint32),
        ("priority", c.c_uint32),
    ]


class MapCreateOptions(c.Structure):
    """struct bpf_map_create_opts, up to its flags"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("btf_fd", c.c_uint32),
        ("btf_key_type_id", c.c_uint32),
        ("btf_value_type_id", c.c_uint32),
        ("btf_vmlinux_value_type_id", c.c_uint32),
        ("inner_map_fd", c.c_uint32),
        ("map_flags", c.c_uint32),
    ]


class MapInfo(c.Structure):
    """struct bpf_map_info, up to its flags"""

    _fields_ = [
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("key_size", c.c_uint32),
        ("value_size", c.c_uint32),
        ("max_entries", c.c_uint32),
        ("map_flags", c.c_uint32),
    ]


class ProgramInfo(c.Structure):
    """struct bpf_prog_info, up to its number"""

    _fields_ = [("type", c.c_uint32), ("id", c.c_uint32)]


class LinkInfo(c.Structure):
    """struct bpf_link_info, up to the interface of XDP and tcx; 0 where that is gone"""

    _fields_ = [("type", c.c_uint32), ("id", c.c_uint32), ("prog_id", c.c_uint32), ("pad", c.c_uint32)]
    _fields_ += [("ifindex", c.c_uint32), ("attach_type", c.c_uint32)]


class BtfType(c.Structure):
    """struct btf_type; what follows it in memory depends on its kind"""

    _fields_ = [("name_off", c.c_uint32), ("info", c.c_uint32), ("size", c.c_uint32)]


_POINTER, _TEXT, _INT, _U32 = c.c_void_p, c.c_char_p, c.c_int, c.c_uint32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_file": (_POINTER, [_TEXT, _POINTER]),
    "bpf_object__load": (_INT, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__btf": (_POINTER, [_POINTER]),
    "bpf_object__find_map_by_name": (_POINTER, [_POINTER, _TEXT]),
    "bpf_object__find_program_by_name": (_POINTER, [_POINTER, _TEXT]),
    "bpf_obj_pin": (_INT, [_INT, _TEXT]),
    "bpf_obj_get": (_INT, [_TEXT]),
    "bpf_obj_get_info_by_fd": (_INT, [_INT, _POINTER, c.POINTER(_U32)]),
    "bpf_map__fd": (_INT, [_POINTER]),
    "bpf_map__set_key_size": (_INT, [_POINTER, _U32]),
    "bpf_map__set_max_entries": (_INT, [_POINTER, _U32]),
    "bpf_map__initial_value": (_POINTER, [_POINTER, c.POINTER(c.c_size_t)]),
    "bpf_program__fd": (_INT, [_POINTER]),
    "bpf_program__set_flags": (_INT, [_POINTER, _U32]),
    "bpf_program__set_autoload": (_INT, [_POINTER, c.c_bool]),
    "bpf_map_create": (_INT, [_INT, _TEXT, _U32, _U32, _U32, _POINTER]),
    "bpf_map_lookup_elem": (_INT, [_INT, _POINTER, _POINTER]),
    "bpf_map_update_elem": (_INT, [_INT, _POINTER, _POINTER, c.c_uint64]),
    "bpf_map_get_next_key": (_INT, [_INT, _POINTER, _POINTER]),
    "bpf_map_delete_batch": (_INT, [_INT, _POINTER, c.POINTER(_U32), _POINTER]),
    "bpf_prog_query": (_INT, [_INT, _INT, _U32, c.POINTER(_U32), _POINTER, c.POINTER(_U32)]),
    "bpf_link_create": (_INT, [_INT, _INT, _INT, c.POINTER(LinkCreateOptions)]),
    "bpf_link_update": (_INT, [_INT, _INT, _POINTER]),
    "bpf_prog_test_run_opts": (_INT, [_INT, c.POINTER(TestRunOptions)]),
    "bpf_tc_hook_create": (_INT, [c.POINTER(TcHook)]),
    "bpf_tc_hook_destroy": (_INT, [c.POINTER(TcHook)]),
    "bpf_tc_attach": (_INT, [c.POINTER(TcHook), c.POINTER(TcOptions)]),
    "bpf_tc_detach": (_INT, [c.POINTER(TcHook), c.POINTER(TcOptions)]),
    "btf__new": (_POINTER, [_POINTER, _U32]),
    "btf__raw_data": (_POINTER, [_POINTER, c.POINTER(_U32)]),
    "btf__find_by_name": (c.c_int32, [_POINTER, _TEXT]),
    "btf__type_by_id": (_POINTER, [_POINTER, _U32]),
    "btf__name_by_offset": (_TEXT, [_POINTER, _U32]),
}

_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
_LEVEL_DEBUG = 2
_LIBBPF_ERRNO = 4000  # __LIBBPF_ERRNO__START
_VSNPRINTF = c.CDLL(None).vsnprintf
_VSNPRINTF.argtypes = [c.c_char_p, c.c_size_t, c.c_char_p, c.c_void_p]

#: What libbpf warned of: the verifier's reasons are in here.
messages: list[str] = []


def _keep_message(level: int, text: bytes, arguments: int) -> int:
    if level == _LEVEL_DEBUG:
        return 0
    buffer = c.create_string_buffer(1 << 16)  # a verifier log is one message
    _VSNPRINTF(buffer, len(buffer), text, arguments)
    messages.append(buffer.value.decode(errors="replace").rstrip())
    del messages[:-100]
    return 0


_print = _PRINT(_keep_message)  # libbpf keeps the pointer, so this must stay


def _load() -> c.CDLL:
    try:
        library = c.CDLL(LIBRARY, use_errno=True)
    except OSError:
        raise LibbpfError(2, "not found: install libbpf 1.1 or later (Debian, Ubuntu: libbpf1)", LIBRARY) from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print.argtypes = [_PRINT]
    library.libbpf_set_print(_print)
    return library


_library: c.CDLL | None = None


def call(name: str, *arguments: Any, what: str = "") -> Any:
    """Call a function of libbpf. A negative number or a NULL raises LibbpfError, saying `what` was tried."""
    global _library  # noqa: PLW0603 - the library is loaded once, and only by those who need it
    if _library is None:
        _library = _load()
    result = getattr(_library, name)(*arguments)
    failed = result is None if _SIGNATURES[name][0] is _POINTER else isinstance(result, int) and result < 0
    if not failed:
        return result
    number = -result if isinstance(result, int) and result != -1 else c.get_errno()
    raise LibbpfError(number, _reason(number), what or name)


def _reason(number: int) -> str:
    """libbpf has numbers of its own, which the C library does not know."""
    assert _library is not None
    if number < _LIBBPF_ERRNO:
        return os.strerror(number)
    text = c.create_string_buffer(128)
    _library.libbpf_strerror(number, text, len(text))
    return text.value.decode(errors="replace")


Information = TypeVar("Information", MapInfo, ProgramInfo, LinkInfo)


def information(kind: type[Information], descriptor: int) -> Information:
    """What the kernel says of a map, a program or a link."""
    info = kind()
    size = _U32(c.sizeof(info))
    call("bpf_obj_get_info_by_fd", descriptor, c.byref(info), c.byref(size))
    return info


def close(handle: int) -> None:
    """Give a bpf_object back: its maps and programs go when nothing else holds them."""
    assert _library is not None
    _library.bpf_object__close(handle)


def verifier_reason() -> str:
    """The line in which the kernel says why it refused a program, as far as libbpf passed it on."""
    lines = [line for message in messages for line in message.splitlines()]
    log = [line for line in lines if line and not re.match(r"(libbpf:|processed |--|;|\d+:)", line)]
    return (log or lines or ["libbpf gave no reason"])[-1].strip()
