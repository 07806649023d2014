"""Files that are read as a whole, without waiting for anybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def opened(path: Path) -> BinaryIO:
    """A regular file, to be read. Raises OSError with the file's name, of anything else too.

    A FIFO would wait until somebody writes to it, in open() already; a device may never end.
    """
    descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")
