"""`python -m xflowd` is the command `xflowd`."""

import sys

from xflowd.cli import main

sys.exit(main())
