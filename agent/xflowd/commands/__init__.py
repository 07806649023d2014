"""The commands of `xflowd`, a module each: its arguments, and whom it hands over to.

Each imports what it needs when it is run: start-up time and memory count on a router.
"""

from xflowd.commands import (
    check,
    collect,
    doctor,
    elements,
    flows,
    flush,
    replay,
    run,
    status,
    templates,
    timeouts,
    top,
)

#: In the order in which the help lists them.
COMMANDS = (run, status, flows, top, flush, templates, timeouts, replay, collect, check, doctor, elements)
