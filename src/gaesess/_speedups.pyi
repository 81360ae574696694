from gaesess._core import *  # noqa: F403  # the same names: see there

HMAC: str  # "libcrypto" or "hashlib": what computes it here
