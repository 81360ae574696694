"""The package twice, side by side: with the compiled core, and with its twin in Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# What does not depend on which core was chosen, and so is there once; the extension can be imported only once.
SHARED = {
    "_core",
    "_headers",
    "_speedups",
    "compression",
    "drivers",
    "errors",
    "events",
    "pickling",
    "stores",
    "values",
}
PARTS = ("_impl", "asgi", "legacy.takeover", "manager", "stores.memory", "stores.tiered", "wsgi")


class Package:
    """All modules of the package, of which those that depend on the core are this one's own."""

    def __init__(self) -> None:
        parts = [import_module(f"gaesess.{part}") for part in PARTS]
        self.impl, self.asgi, _, self.manager, *_, self.wsgi = parts
        self._modules = _loaded()

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Let what imports a module when it needs it find those of this package."""
        before = _loaded()
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            sys.modules.update(before)


def _loaded() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "gaesess"]
    return {name: sys.modules[name] for name in names if name.split(".")[1:2] == [] or name.split(".")[1] not in SHARED}


def _other(first: Package) -> Package:
    """Return the package with the other core."""
    environ = os.environ.get("GAESESS_PURE")
    os.environ["GAESESS_PURE"] = "0" if first.impl.IMPLEMENTATION == "python" else "1"
    with first.imported():
        for name in _loaded():
            del sys.modules[name]
        try:
            return Package()
        finally:
            if environ is None:
                del os.environ["GAESESS_PURE"]
            else:
                os.environ["GAESESS_PURE"] = environ


def _both() -> list[Package]:
    """Return the package with the compiled core and with its twin; with the latter alone if no other one is built."""
    first = Package()
    if find_spec("gaesess._speedups") is None:
        return [first]
    return sorted([first, _other(first)], key=lambda package: package.impl.IMPLEMENTATION)


PACKAGES = _both()
