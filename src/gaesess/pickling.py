"""Refuses to pickle and to copy what holds a secret: pickles end up in caches and queues.

Each function is the `__reduce__` of a class, which `pickle`, `copy` and `multiprocessing` all call.
"""

from __future__ import annotations

from typing import NoReturn


def refuse_session(self: object) -> NoReturn:
    """Raise TypeError: anyone who has a session id has the session."""
    raise TypeError(
        f"a {type(self).__name__} cannot be pickled or copied, because it holds the secret session id; "
        'pass dict(session), or single values such as session["user"], instead'
    )


def refuse_keys(self: object) -> NoReturn:
    """Raise TypeError: anyone who has the keys can forge any session."""
    raise TypeError(
        f"a {type(self).__name__} cannot be pickled or copied, because it holds the secret keys; "
        "make one from the settings in each process instead"
    )
