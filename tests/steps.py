"""How much work a function of Python does, for tests of growth that no busy machine can fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from gaesess.errors import MalformedToken


def executed_lines(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the lines that a call executes, also if it ends in MalformedToken."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    except MalformedToken:
        pass
    finally:
        sys.settrace(before)
    return count
