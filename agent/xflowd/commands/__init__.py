"""The commands of `xflowd`, a module each: its arguments, and whom it hands over to.

Each imports what it needs when it is run: start-up time and memory count on a router.
"""

from xflowd.commands import check, collect, elements, replay, run, status

#: In the order in which the help lists them.
COMMANDS = (run, status, replay, collect, check, elements)
