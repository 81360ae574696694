"""The one place that chooses between the compiled package and its pure-Python twin.

`GAESESS_PURE=1` in the environment forces the twin: then every module of the package comes from its source.
Callers say `_impl.unseal(...)`, never `from _impl import unseal`.
"""

import os
import sys

if os.environ.get("GAESESS_PURE") == "1":
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    _folder = os.path.dirname(__file__)
    sys.path_importer_cache[_folder] = FileFinder(_folder, (SourceFileLoader, SOURCE_SUFFIXES))

from gaesess import _core

IMPLEMENTATION = "python"
_chosen = _core
try:
    import gaesess._speedups as _chosen  # type: ignore[no-redef]
except ModuleNotFoundError as error:  # any other failure is a broken build, and has to be seen
    if error.name != "gaesess._speedups":
        raise
else:
    IMPLEMENTATION = "cython"

encode, decode = _chosen.encode, _chosen.decode
format_sid, parse_sid = _chosen.format_sid, _chosen.parse_sid
read_cookies, write_cookies = _chosen.read_cookies, _chosen.write_cookies
SUITE = _core.SUITE
prepare_key, seal = _chosen.prepare_key, _chosen.seal
unseal, unseal_cookies = _chosen.unseal, _chosen.unseal_cookies
