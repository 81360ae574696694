"""The one place that chooses between the compiled core and its pure-Python twin.

`GAESESS_PURE=1` in the environment forces the twin. Callers say `_impl.unseal(...)`, never `from _impl import unseal`.
"""

import os

from gaesess import _core

IMPLEMENTATION = "python"
_chosen = _core
if os.environ.get("GAESESS_PURE") != "1":
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
prepare_key, seal, unseal = _chosen.prepare_key, _chosen.seal, _chosen.unseal
