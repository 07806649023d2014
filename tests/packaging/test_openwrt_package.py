"""Proves that OpenWrt's package builds: by its Makefile, for both byte orders, with all that it needs and says."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from openwrt_buildroot import Buildroot

from xflowd.edge.loading import OBJECT

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "packaging" / "openwrt"
PACKAGE = "net/xflowd"
SITE = "usr/lib/python3/site-packages"
#: The byte orders: a variable of the buildroot, user space's headers of a target, EI_DATA of the object.
ORDERS = {"little": ("", "/usr/aarch64-linux-gnu/include", 1), "big": ("y", "/usr/mips-linux-gnu/include", 2)}

#: Packages of the feed that hold a part of Python's library; all else is in python3-light and python3-base. Not here:
#: python3-lzma, which shutil does without, and _hashlib in python3-openssl, which hashlib does without.
SPLIT = {
    "python3-asyncio": {"asyncio", "_asyncio"},
    "python3-cgi": {"cgi"},
    "python3-codecs": {"unicodedata"},
    "python3-ctypes": {"ctypes", "_ctypes"},
    "python3-dbm": {"dbm"},
    "python3-decimal": {"decimal", "_decimal"},
    "python3-distutils": {"distutils"},
    "python3-email": {"email"},
    "python3-logging": {"logging"},
    "python3-multiprocessing": {"multiprocessing", "_multiprocessing"},
    "python3-ncurses": {"curses", "_curses"},
    "python3-openssl": {"ssl", "_ssl"},
    "python3-pydoc": {"pydoc", "doctest"},
    "python3-readline": {"readline"},
    "python3-sqlite3": {"sqlite3", "_sqlite3"},
    "python3-unittest": {"unittest"},
    "python3-urllib": {"urllib"},
    "python3-uuid": {"uuid", "_uuid"},
    "python3-xml": {"xml", "xmlrpc"},
}
#: What Python's own modules load in some versions only: pathlib has asked for urllib.parse up to 3.12.
SOMETIMES = {"python3-urllib"}
#: Libraries that the feed has not: their names on PyPI and in Python, and what of Python's library stands in DEPENDS.
OURS = {
    "python-construct": ("construct", set()),
    "python-prometheus-client": ("prometheus_client", {"python3-email", "python3-openssl", "python3-urllib"}),
}
LIBRARIES = {"construct", "numpy", "psutil", "pyroute2"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Buildroot:
    """A buildroot with the package added, of which nothing is built."""
    return Buildroot(tmp_path_factory.mktemp("source"), Path(ORDERS["little"][1])).add()


@pytest.fixture(scope="module", params=ORDERS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A byte order, and the root of what the package installs."""
    order = request.param
    buildroot = Buildroot(tmp_path_factory.mktemp(order), Path(ORDERS[order][1])).add()
    buildroot.unpack(next((buildroot.top / "dl").iterdir()))
    big = f"CONFIG_BIG_ENDIAN={ORDERS[order][0]}"
    buildroot.make(PACKAGE, big, "compile-xflowd")
    buildroot.make(PACKAGE, big, "install-xflowd")
    return order, buildroot.installed("xflowd")


def metadata(buildroot: Buildroot, package: str, name: str) -> dict[str, str]:
    lines = buildroot.make(package, f"metadata-{name}").splitlines()
    told = dict(line.split(" ", 1) for line in lines if re.match(r"[A-Z]+ ", line))
    return told | {"description": "\n".join(lines)}


def depends(buildroot: Buildroot, package: str, name: str) -> set[str]:
    return set(metadata(buildroot, package, name)["DEPENDS"].split())


def test_everything_is_installed(built: tuple[str, Path]) -> None:
    _, root = built
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    modules = {path.relative_to(ROOT / "agent").with_suffix(".pyc") for path in (ROOT / "agent").rglob("*.py")}
    assert {f"{SITE}/{module}" for module in modules} <= files
    assert {
        "usr/bin/xflowd",
        "etc/config/xflowd",
        "etc/init.d/xflowd",
        "usr/share/acl.d/xflowd.json",
        f"{SITE}/xflowd/meter.bpf.o",
    } <= files
    assert not [name for name in files if name.endswith(".py") or "test" in name]
    assert (root / "etc/init.d/xflowd").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/init.d/xflowd").read_bytes() == (ROOT / "init" / "xflowd.init").read_bytes()
    assert json.loads((root / "usr/share/acl.d/xflowd.json").read_text())["user"] == "xflowd"


def test_the_object_is_of_the_targets_byte_order(built: tuple[str, Path]) -> None:
    order, root = built
    octets = (root / SITE / "xflowd" / "meter.bpf.o").read_bytes()
    assert octets[:4] == b"\x7fELF"
    assert octets[5] == ORDERS[order][2]
    assert b".BTF" in octets, "the agent reads the layout of a slot from it"
    assert b".debug_info" not in octets


def test_the_little_endian_object_has_the_programs_that_were_tested(built: tuple[str, Path], tmp_path: Path) -> None:
    """The headers of another architecture make no difference to the instructions."""
    order, root = built
    if order != sys.byteorder:
        pytest.skip("the tests' own object is of the other byte order")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path, copy in ((OBJECT, ours), (root / SITE / "xflowd" / "meter.bpf.o", theirs)):
        sections = [f"--only-section={name}" for name in ("xdp.frags", "xdp", "tc", "tcx/ingress", "syscall", ".text")]
        subprocess.run(["llvm-objcopy", *sections, "-O", "binary", path, copy], check=True, timeout=30)
    assert ours.read_bytes() == theirs.read_bytes()
    assert ours.stat().st_size > 10_000


def test_what_is_installed_runs(built: tuple[str, Path]) -> None:
    """From byte code alone, with nothing of the source tree in sight."""
    _, root = built
    code = "import sys, xflowd.cli; sys.exit(xflowd.cli.main())"
    command = [sys.executable, "-c", code, "check", "-c", root / "etc/config/xflowd"]
    environment = {"PYTHONPATH": str(root / SITE), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import xflowd; print(xflowd.__file__)"],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert where.stdout.strip() == str(root / SITE / "xflowd" / "__init__.pyc")


def test_the_size_is_as_described(built: tuple[str, Path], source: Buildroot) -> None:
    _, root = built
    octets = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    described = re.search(r"Takes (\d+) kB", metadata(source, PACKAGE, "xflowd")["description"])
    assert described
    assert octets / 1000 == pytest.approx(int(described[1]), rel=0.1)


def test_the_configuration_is_kept_at_an_upgrade(source: Buildroot) -> None:
    assert source.make(PACKAGE, "conffiles-xflowd").split() == ["/etc/config/xflowd"]


def test_what_else_the_package_says(source: Buildroot) -> None:
    told = metadata(source, PACKAGE, "xflowd")
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert told["VERSION"] == version[1]
    assert told["USERID"] == "xflowd:xflowd"
    assert told["FLAGS"] == "nonshared", "a compiler for eBPF is not there in builds of shared packages"
    archive = source.top / "dl" / told["SOURCE"]
    assert told["HASH"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(archive) as packed:
        names = packed.getnames()
    assert f"xflowd-{version[1]}/ebpf/meter.bpf.c" in names
    assert not [name for name in names if name.endswith((".o", ".pyc"))]


def loaded(code: str) -> set[str]:
    """The packages of the feed that hold what of Python's library is loaded after `code`."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=paths(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    return {package for package, parts in SPLIT.items() if parts & modules}


def paths() -> dict[str, str]:
    """Without site.py, which loads what an installation of its own asks for."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), "OPENBLAS_NUM_THREADS": "1"}


#: And what Python itself loads to resolve a name: the codec `idna`, even for an address.
ALL_MODULES = """
import importlib, pkgutil, socket, xflowd
for module in pkgutil.walk_packages(xflowd.__path__, "xflowd."):
    if module.name != "xflowd.__main__":
        importlib.import_module(module.name)
socket.getaddrinfo("127.0.0.1", 2055)
"""


def test_every_part_of_python_is_a_dependency_and_none_in_vain(source: Buildroot) -> None:
    needed = loaded(ALL_MODULES) | loaded("import psutil")
    stated = depends(source, PACKAGE, "xflowd")
    parts = {name.removeprefix("+") for name in stated} & SPLIT.keys()
    assert needed - SOMETIMES <= parts
    assert parts - SOMETIMES <= needed
    assert needed <= parts | SOMETIMES
    assert "+python3-light" in stated


def test_every_library_is_a_dependency(source: Buildroot) -> None:
    stated = depends(source, PACKAGE, "xflowd")
    project = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    libraries = set(re.findall(r'"(\w+)', listed))
    assert libraries == LIBRARIES
    assert {f"+python3-{name}" for name in libraries} <= stated
    assert {"+libbpf", "@HAS_BPF_TOOLCHAIN", "@!SOFT_FLOAT", "+kmod-sched-core", "+kmod-sched-bpf"} <= stated


@pytest.mark.parametrize("package", OURS)
def test_libraries_that_the_feed_has_not_have_packages(source: Buildroot, package: str) -> None:
    """The hash is that of PyPI's source of this version."""
    module, parts = OURS[package]
    name = package.replace("python-", "python3-")
    told = metadata(source, f"lang/python/{package}", name)
    assert re.fullmatch(r"[0-9a-f]{64}", told["HASH"])
    assert told["SOURCE"] == f"{module}-{told['VERSION']}.tar.gz"
    assert depends(source, f"lang/python/{package}", name) == {f"+{part}" for part in parts | {"python3-light"}}
    needed = loaded(f"import {module}")
    assert parts - SOMETIMES <= needed <= parts | SOMETIMES


def test_their_versions_are_such_as_the_agent_takes(source: Buildroot) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for package, (module, _) in OURS.items():
        version = metadata(source, f"lang/python/{package}", package.replace("python-", "python3-"))["VERSION"]
        (low, high), *_ = re.findall(rf'"{module}>=([\d.]+),<(\d+)"', project)
        assert numbers(low) <= numbers(version) < numbers(high)


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


@pytest.mark.parametrize("page", ["openwrt.md", "luci.md"])
def test_what_is_in_no_feed_is_built_and_installed_as_a_file(page: str) -> None:
    """By opkg and by apk, with all that the feeds cannot bring."""
    text = (ROOT / "docs" / page).read_text()
    for command, ending in (("opkg install", "_*.ipk"), ("apk add --allow-untrusted", "-*.apk")):
        (words,) = re.findall(rf"{command} (.*?) *#", text)
        assert set(words.split()) == {
            f"./{name}{ending}" for name in ("xflowd", "python3-construct", "luci-app-xflowd")
        }


def test_a_directory_that_is_no_buildroot_is_refused(tmp_path: Path) -> None:
    for arguments in ([], [tmp_path]):
        done = subprocess.run([HERE / "add-to", *arguments], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 2
        assert "usage" in done.stderr
