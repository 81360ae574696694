"""The one place that chooses between the compiled core and its pure-Python twin.

`GAESESS_PURE=1` in the environment forces the twin. Callers say `_impl.unseal(...)`, never `from _impl import unseal`.
"""

import os
import warnings

from gaesess import _core as _chosen

IMPLEMENTATION = "python"
if os.environ.get("GAESESS_PURE") != "1":
    try:
        import gaesess._speedups as _chosen  # type: ignore[no-redef]

        IMPLEMENTATION = "cython"
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != "gaesess._speedups":
            warnings.warn(f"the compiled core cannot be loaded, its twin in Python runs: {error}", stacklevel=2)

dumps = _chosen.dumps
loads = _chosen.loads
prepare_key = _chosen.prepare_key
seal = _chosen.seal
unseal = _chosen.unseal
encode = _chosen.encode
decode = _chosen.decode
format_sid = _chosen.format_sid
parse_sid = _chosen.parse_sid
read_cookies = _chosen.read_cookies
unseal_cookies = _chosen.unseal_cookies
write_cookies = _chosen.write_cookies
with_session = _chosen.with_session
CookieConfig = _chosen.CookieConfig
CookieSession = _chosen.CookieSession
