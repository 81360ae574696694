"""Both twins side by side: the modules as they were imported, and those that were passed over for them."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import gaesess
from gaesess import _core, codec, sealer

_FOLDER = str(Path(gaesess.__file__).parent)
_FINDERS = [
    FileFinder(_FOLDER, (SourceFileLoader, SOURCE_SUFFIXES)),
    FileFinder(_FOLDER, (ExtensionFileLoader, EXTENSION_SUFFIXES)),
]


def _forms(name: str) -> list[Any]:
    """Return a module of gaesess as made of its source and as compiled, in so far as there are such files."""
    specs = [finder.find_spec(name) for finder in _FINDERS]
    return [_load(spec) for spec in specs if spec is not None]


def _load(spec: Any) -> Any:
    imported = sys.modules.get(spec.name)
    if imported is not None and imported.__spec__.origin == spec.origin:
        return imported
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CORES = [_core, *_forms("gaesess._speedups")]
CODECS = _forms(codec.__name__)
SEALERS = _forms(sealer.__name__)
