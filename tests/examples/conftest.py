"""The examples, loaded as they are."""

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Import a module of an example as its directory's own; the current directory is an empty one meanwhile."""
    with pytest.MonkeyPatch.context() as patch:

        def load(example, module):
            patch.chdir(tmp_path_factory.mktemp(example))
            patch.syspath_prepend(EXAMPLES / example)
            return importlib.import_module(module)

        before = set(sys.modules)
        yield load
        for name in set(sys.modules) - before:
            if EXAMPLES in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
                del sys.modules[name]
