"""What of a stack is in force in this function: the build, its published version, and the parameters."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BUILD = "build.txt"
"""The file in the package in which `make build` says what it built."""

UNKNOWN = "unknown"
"""The build of a package that `make build` did not make."""

_PACKAGE = Path(__file__).parents[1]


def deployed(variables: Mapping[str, str] = os.environ, package: Path = _PACKAGE) -> dict[str, Any]:
    """As JSON values: `build`, the `version` of the function that runs, the number of its `parameters` (the stack's
    output Parameters), and those of them that no other field of the status shows."""
    memory = variables.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return {
        "build": _build(package),
        "version": variables.get("AWS_LAMBDA_FUNCTION_VERSION", UNKNOWN),
        "parameters": variables.get("POINTSMAN_PARAMETERS", UNKNOWN),
        "memory_mb": int(memory) if memory.isdecimal() else None,
        "log_level": variables.get("POWERTOOLS_LOG_LEVEL", "INFO"),
        "tracing": variables.get("POWERTOOLS_TRACE_DISABLED") == "false",
    }


def _build(package: Path) -> str:
    try:
        return (package / BUILD).read_text(encoding="ascii").strip() or UNKNOWN
    except FileNotFoundError:
        return UNKNOWN
