"""What the user wants: read, checked as a whole, and handed on as one value that nothing can change."""

from __future__ import annotations

from xflowd.config.check import check
from xflowd.config.doubtful import doubtful
from xflowd.config.file import default_file
from xflowd.config.flowkey import LEVELS, FlowKey, KeyField
from xflowd.config.interfaces import is_pattern, matching, unmatched
from xflowd.config.loading import load, read
from xflowd.config.options import override
from xflowd.config.problem import ConfigError, Problem
from xflowd.config.schema import (
    Agent,
    Collector,
    Config,
    Direction,
    ExportProtocol,
    Hook,
    Meter,
    Metrics,
    Sampling,
    SamplingMode,
    Template,
    Tunnels,
)
from xflowd.config.values import Endpoint

__all__ = [
    "LEVELS",
    "Agent",
    "Collector",
    "Config",
    "ConfigError",
    "Direction",
    "Endpoint",
    "ExportProtocol",
    "FlowKey",
    "Hook",
    "KeyField",
    "Meter",
    "Metrics",
    "Problem",
    "Sampling",
    "SamplingMode",
    "Template",
    "Tunnels",
    "check",
    "default_file",
    "doubtful",
    "is_pattern",
    "load",
    "matching",
    "override",
    "read",
    "unmatched",
]
