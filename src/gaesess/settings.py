"""The settings by their names, for those who write them in a dictionary: Django's and Flask's GAESESS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, TypedDict

from gaesess.keys import RetiredKey
from gaesess.manager import SessionManager
from gaesess.stores.base import Store

if TYPE_CHECKING:
    from gaesess.legacy.reader import Reader


class KeywordSettings(TypedDict, total=False):
    """The settings of SessionManager that are given by name only."""

    store: Store | None
    outage: Literal["raise", "degrade"]
    store_threads: int
    retired_keys: Iterable[RetiredKey]
    encrypt: bool
    compress: bool
    revocable: bool
    idle_timeout: timedelta | None
    passive_paths: Iterable[str]
    cookie_name: str | None
    cookie_path: str
    cookie_domain: str | None
    cookie_secure: bool
    cookie_samesite: str
    cookie_partitioned: bool
    legacy: Reader | Iterable[Reader]
    clock: Callable[[], float]


class Settings(KeywordSettings, total=False):
    """All settings of SessionManager."""

    cookie_key: str | bytes | None
    lifetime: timedelta
    no_datastore: bool
    cookie_only_threshold: int | None


NAMES = tuple(Settings.__annotations__)


def manager_from(settings: Mapping[str, object], origin: str) -> SessionManager:
    """Return a manager with these settings; `origin` is how error messages call them.

    Raises ValueError for settings that are unknown, missing, unsafe or contradict each other.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f'{origin} is a dictionary, such as {{"cookie_key": ...}}, not {type(settings).__name__}')
    for name in settings:
        if name not in NAMES:
            near = get_close_matches(str(name), NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(NAMES))}"
            raise ValueError(f"{origin} has no setting {name!r}: {hint}")
    try:
        return SessionManager(**{"cookie_key": None, **settings})  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
