"""Time zones as session data have them: an offset in microseconds and perhaps a name, or the key of a zoneinfo."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from errno import EISDIR, ENAMETOOLONG

from gaesess.errors import MalformedToken

_MICROSECOND = timedelta(microseconds=1)


def dump(zone: tzinfo | None) -> list[int | str]:
    """Return the fields of a time zone; none for None. Raises TypeError for one of another class."""
    if zone is None:
        return []
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [offset // _MICROSECOND, *([] if name == timezone(offset).tzname(None) else [name])]
    from zoneinfo import ZoneInfo

    if type(zone) is ZoneInfo and zone.key is not None:
        return [zone.key]
    kind = f"{type(zone).__module__}.{type(zone).__qualname__}"
    raise TypeError(f"time zones of type {kind} are not supported; use datetime's or a zoneinfo with a key")


def load(zone: int | str | None = None, *name: str) -> tzinfo | None:
    """Return the time zone of these fields. Raises MalformedToken, or whatever damaged data make a function raise."""
    if not isinstance(zone, str):
        return zone if zone is None else timezone(zone * _MICROSECOND, *name)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except OSError as error:  # of the package tzdata, where any name is opened as a file
        if error.errno not in (EISDIR, ENAMETOOLONG):  # to have too many files open is no damage
            raise
        raise MalformedToken("session data hold a time zone that cannot be") from error
