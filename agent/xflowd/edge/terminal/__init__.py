"""Flows for the eye, as a table, and for a program, as JSON; and how far a long run has come."""

from xflowd.edge.terminal.columns import Columns
from xflowd.edge.terminal.jsonlines import JsonLines
from xflowd.edge.terminal.output import terminal_size
from xflowd.edge.terminal.progress import Progress
from xflowd.edge.terminal.table import Table

__all__ = ["Columns", "JsonLines", "Progress", "Table", "terminal_size"]
