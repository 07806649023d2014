"""A stand-in for OpenWrt's buildroot: what a package's Makefile includes, as far as it is needed to build it for real.

Names and meanings are those of rules.mk, package.mk, bpf.mk, pypi.mk and python3-package.mk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ADD_TO = Path(__file__).resolve().parents[2] / "packaging" / "openwrt" / "add-to"
RULES = """\
INCLUDE_DIR := $(TOPDIR)/include
STAGING_DIR := $(TOPDIR)/staging_dir/target
BUILD_DIR := $(TOPDIR)/build_dir
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_DATA := install -m0644
CP := cp -fpR
TOOLCHAIN_INC_DIRS := $(TOPDIR)/toolchain/include
"""
PACKAGE = """\
__package_mk := 1
PKG_BUILD_DIR ?= $(BUILD_DIR)/$(PKG_NAME)-$(PKG_VERSION)
PKG_INSTALL_DIR := $(PKG_BUILD_DIR)/ipkg-install
define newline


endef
define Build/Compile
\t$(error no Build/Compile)
endef
define Build/Install
\t$(error no Build/Install)
endef
# What is known of a package, by name: $(info) writes it, line by line.
define BuildPackage
  metadata-$(1):
\t@:$$(info TITLE $$(TITLE))$$(info DEPENDS $$(DEPENDS))$$(info USERID $$(USERID))$$(info CATEGORY $$(CATEGORY))
\t@:$$(info FLAGS $$(PKG_FLAGS))$$(info SOURCE $$(PKG_SOURCE))$$(info HASH $$(PKG_HASH))$$(info VERSION $$(PKG_VERSION))
\t@:$$(info $$(Package/$(1)/description))
  conffiles-$(1):
\t@:$$(info $$(Package/$(1)/conffiles))
  metadata-$(1): $$(eval $$(Package/$(1)))
  compile-$(1):
\t$$(Build/Compile)
\t$$(Build/Install)
  postinst-$(1):
\t@:$$(info $$(Package/$(1)/postinst))
  install-$(1):
\t$$(call Package/$(1)/install,$(TOPDIR)/ipkg/$(1))
endef
"""
BPF = """\
BPF_DEPENDS := @HAS_BPF_TOOLCHAIN +@NEED_BPF_TOOLCHAIN
CLANG := clang
LLVM_STRIP := llvm-strip
BPF_TARGET := bpf$(if $(CONFIG_BIG_ENDIAN),eb,el)
define CompileBPF
\t$(error compiles against the headers of the kernel's inside)
endef
"""
PYPI = """\
PYPI_SOURCE_NAME ?= $(PYPI_NAME)
PKG_SOURCE ?= $(PYPI_SOURCE_NAME)-$(PKG_VERSION).tar.gz
PKG_BUILD_DIR := $(BUILD_DIR)/pypi/$(PYPI_SOURCE_NAME)-$(PKG_VERSION)
"""
#: A wheel, by what the Python that builds has of the project's requirements; installed by a step of its own, under the
#: name that the feed expects. Compiled to .pyc beside where each source was; the sources go to a package of their own.
PYTHON = """\
PYTHON3_PKG_DIR := /usr/lib/python3/site-packages
PYTHON3_PKG_WHEEL_NAME ?= $(subst -,_,$(or $(PYPI_SOURCE_NAME),$(PKG_NAME)))
define Py3Build/Compile
\tcd $(PKG_BUILD_DIR) && $(HOST_PYTHON) -m build --no-isolation --wheel --outdir openwrt-build . >/dev/null
endef
define Py3Build/Install
\t$(HOST_PYTHON) -m installer --no-compile-bytecode --prefix /usr --destdir $(PKG_BUILD_DIR)/wheel-root \\
\t\t$(PKG_BUILD_DIR)/openwrt-build/$(PYTHON3_PKG_WHEEL_NAME)-$(PKG_VERSION)-*.whl
\t$(INSTALL_DIR) $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR) $(PKG_INSTALL_DIR)/usr/bin
\tcp -R $$(dirname $$(find $(PKG_BUILD_DIR)/wheel-root -name '*.dist-info'))/. $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR)/
\tfind $(PKG_BUILD_DIR)/wheel-root -path '*/bin/*' -type f -exec cp {} $(PKG_INSTALL_DIR)/usr/bin/ ';'
endef
Build/Compile = $(Py3Build/Compile)
Build/Install = $(Py3Build/Install)
define Py3Package
  define Package/$(1)-src
  endef
  define Package/$(1)/install
\t$$(call Py3Package/$(1)/install,$$(1))
\t$(INSTALL_DIR) $$(1)$(PYTHON3_PKG_DIR)
\tcp -R $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR)/. $$(1)$(PYTHON3_PKG_DIR)/
\t$(TARGET_PYTHON) -m compileall -q -b $$(1)$(PYTHON3_PKG_DIR)
\tfind $$(1)$(PYTHON3_PKG_DIR) -name '*.py' -delete
  endef
endef
"""


class Buildroot:
    """A directory with the feeds that `add-to` wants, and a toolchain of the host's clang and the target's headers."""

    def __init__(self, top: Path, headers: Path) -> None:
        """`headers`: a target's linux/ and asm/ of user space."""
        self.top = top
        files = {
            "rules.mk": RULES,
            "include/package.mk": PACKAGE,
            "include/bpf.mk": BPF,
            "feeds/packages/lang/python/pypi.mk": PYPI,
            "feeds/packages/lang/python/python3-package.mk": PYTHON,
        }
        for name, text in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (top / "feeds/luci/applications").mkdir(parents=True)
        (top / "toolchain/include").mkdir(parents=True)
        for name in ("linux", "asm", "asm-generic"):
            (top / "toolchain/include" / name).symlink_to(_found(headers, name))
        (top / "staging_dir/target/usr/include").mkdir(parents=True)
        (top / "staging_dir/target/usr/include/bpf").symlink_to("/usr/include/bpf")

    def add(self) -> Buildroot:
        """All that add-to puts there. Nothing is built."""
        done = subprocess.run([ADD_TO, self.top], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return self

    def make(self, package: str, *targets: str) -> str:
        """What make prints of a package of the packages feed. Raises CalledProcessError."""
        command = [
            "make",
            "-s",
            *targets,
            f"TOPDIR={self.top}",
            "HOST_PYTHON=/usr/bin/python3",
            f"TARGET_PYTHON={sys.executable}",
        ]
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            command,
            cwd=self.top / "feeds/packages" / package,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def unpack(self, archive: Path) -> None:
        """As Build/Prepare does."""
        build = self.top / "build_dir"
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir()
        with tarfile.open(archive) as packed:
            packed.extractall(build)

    def installed(self, name: str) -> Path:
        return self.top / "ipkg" / name


def _found(headers: Path, name: str) -> Path:
    """Of some architectures all headers lie together, of others asm/ apart."""
    places = (headers / name, Path("/usr/include") / headers.parent.name / name, Path("/usr/include") / name)
    return next(place for place in places if place.is_dir())
