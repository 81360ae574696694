"""The settings of an application: each declared once, checked when the application starts, and what they come to."""

import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict

from gaesess import _impl, events
from gaesess._core import (
    BROWSER,
    MAX_AGE_SECONDS,
    MAX_CHUNKS,
    MAX_U32,
    RECORDED,
    SECURE,
    SID_BYTES,
    Token,
)
from gaesess.cookies import MAX_COOKIE_BYTES, cookie_attributes
from gaesess.drivers import Loop, Threads
from gaesess.keys import Keys, RetiredKey, derive
from gaesess.records import Records, as_tiered
from gaesess.stores.base import MAX_RECORD_BYTES, AsyncStore, Store, has_calls, is_async
from gaesess.users import CHECKED_SECONDS, Users

if TYPE_CHECKING:
    from gaesess.legacy.reader import Reader
    from gaesess.legacy.takeover import Takeover
    from gaesess.manager import SessionManager

DEFAULT_LIFETIME = timedelta(days=7)
MIN_LIFETIME = timedelta(seconds=1)
MAX_LIFETIME = timedelta(seconds=MAX_AGE_SECONDS)
MIN_IDLE_TIMEOUT = timedelta(minutes=1)
MAX_STORE_THREADS = 1000
MAX_SHOWN = 20  # characters of a value in an error
POSITIONAL = ("cookie_key", "lifetime", "no_datastore", "cookie_only_threshold")  # in the order of gae-sessions 1.07


class Setting(NamedTuple):
    """A setting: its default, what a value must be, the test of that, and what it does."""

    default: Any
    must_be: str
    is_valid: Callable[[Any], bool]
    doc: str


def _flag(default: bool, doc: str) -> Setting:
    return Setting(default, "True or False", lambda value: type(value) is bool, doc)


def _checked_later(default: Any, doc: str) -> Setting:
    """Return a setting that `derive` or `cookie_attributes` checks, with others that it depends on."""
    return Setting(default, "", lambda value: True, doc)


def _are_paths(value: object) -> bool:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return False
    return all(isinstance(path, str) and path.startswith("/") for path in value)


def _are_readers(value: object) -> bool:
    from gaesess.legacy.reader import Reader  # not in every process

    return all(isinstance(reader, Reader) for reader in _several(value))


class Settings(TypedDict, total=False):
    """The settings, as keywords of every middleware and of SessionManager, and in Django's and Flask's GAESESS."""

    cookie_key: Annotated[
        str | bytes | None, _checked_later(None, "The secret, of at least 32 bytes, that sessions are signed with.")
    ]
    retired_keys: Annotated[
        Iterable[RetiredKey],
        _checked_later(
            (),
            "Earlier keys, which still verify, each by itself or as a pair with the datetime until which it is valid.",
        ),
    ]
    encrypt: Annotated[bool, _flag(False, "Encrypt cookies and records with AES-256-GCM, not only sign them.")]
    compress: Annotated[bool, _flag(False, "Compress cookies and records where that makes them smaller.")]
    lifetime: Annotated[
        timedelta,
        Setting(
            DEFAULT_LIFETIME,
            f"a timedelta, such as timedelta(days=7): zero, or from a second to {MAX_LIFETIME.days} days",
            lambda value: isinstance(value, timedelta) and (not value or MIN_LIFETIME <= value <= MAX_LIFETIME),
            "How long a session lasts from its start; zero lets its cookie expire with the browser.",
        ),
    ]
    idle_timeout: Annotated[
        timedelta | None,
        Setting(
            None,
            "None, or a timedelta of at least a minute, such as timedelta(hours=2)",
            lambda value: value is None or (isinstance(value, timedelta) and value >= MIN_IDLE_TIMEOUT),
            "How long a session lasts from its last use, if that is less.",
        ),
    ]
    passive_paths: Annotated[
        Iterable[str],
        Setting(
            (),
            'a list of paths of URLs, such as ["/poll", "/news"]',
            _are_paths,
            "Paths that pages poll: a request to one of them, or below one, is not a use of the session.",
        ),
    ]
    revocable: Annotated[
        bool,
        _flag(False, "Check with the store, every 5 seconds, whether a session in its cookie was ended elsewhere."),
    ]
    store: Annotated[
        Store | AsyncStore | None,
        Setting(
            None,
            "None, or a store, such as SQLiteStore(path)",
            lambda value: value is None or has_calls(value, "get", "add", "replace", "delete"),
            "Where sessions are that outgrow the cookie.",
        ),
    ]
    store_threads: Annotated[
        int,
        Setting(
            64,
            f"an int from 1 to {MAX_STORE_THREADS}",
            lambda value: type(value) is int and 1 <= value <= MAX_STORE_THREADS,
            "How many threads of a process may wait for the store where an event loop must not.",
        ),
    ]
    cookie_only_threshold: Annotated[
        int | None,
        Setting(
            None,
            f"None, or a number of bytes, an int from 0 to {MAX_CHUNKS * MAX_COOKIE_BYTES}",
            lambda value: value is None or (type(value) is int and 0 <= value <= MAX_CHUNKS * MAX_COOKIE_BYTES),
            "How many bytes of session data stay in cookies; by default as many as one cookie holds.",
        ),
    ]
    outage: Annotated[
        Literal["raise", "degrade"],
        Setting(
            "raise",
            '"raise" or "degrade"',
            lambda value: value in ("raise", "degrade"),
            "While a TieredStore's durable store is down: raise StoreUnavailable, or use the cache alone.",
        ),
    ]
    on_data_loss: Annotated[
        Literal["raise", "restart"],
        Setting(
            "raise",
            '"raise" or "restart"',
            lambda value: value in ("raise", "restart"),
            "What a session does that the store has lost: raise SessionDataLoss, or begin again, empty.",
        ),
    ]
    no_datastore: Annotated[bool, _flag(False, "Use only the cache of a TieredStore.")]
    cookie_name: Annotated[
        str | None,
        _checked_later(None, "The name of the first cookie; by default __Host-gaesess, __Secure-gaesess or gaesess."),
    ]
    cookie_path: Annotated[str, _checked_later("/", "The cookie's Path.")]
    cookie_domain: Annotated[str | None, _checked_later(None, "The cookie's Domain.")]
    cookie_secure: Annotated[bool, _flag(True, "Send the cookie over HTTPS only; False is for development.")]
    cookie_samesite: Annotated[Literal["Lax", "Strict", "None"], _checked_later("Lax", "The cookie's SameSite.")]
    cookie_partitioned: Annotated[bool, _flag(False, "Keep the cookies apart for each site that embeds this one.")]
    legacy: Annotated[
        "Reader | Iterable[Reader]",
        Setting(
            (),
            "what gaesess.legacy returns, or a list of these",
            _are_readers,
            "Sessions of other libraries to migrate.",
        ),
    ]
    clock: Annotated[
        Callable[[], float] | None,
        Setting(
            None,
            "None, or a function that returns Unix seconds",
            lambda value: value is None or callable(value),
            "The clock; by default time.time.",
        ),
    ]


SETTINGS: Mapping[str, Setting] = {
    name: annotation.__metadata__[0] for name, annotation in Settings.__annotations__.items()
}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings, these and the defaults of the others.

    Raises TypeError for one that does not exist, ValueError for a value that it cannot have.
    """
    settings = {name: tuple(value) if isinstance(value, Iterator) else value for name, value in settings.items()}
    for name, value in settings.items():
        if name not in SETTINGS:
            raise TypeError(f"there is no setting {name!r}: {near(name)}")
        if not SETTINGS[name].is_valid(value):
            is_text = isinstance(value, (str, bytes)) and len(value) > MAX_SHOWN  # it might be a key in the wrong place
            shown = f"a {type(value).__name__} of {len(value)} characters" if is_text else repr(value)
            raise ValueError(f"{name} must be {SETTINGS[name].must_be}, got {shown}")
    return {name: setting.default for name, setting in SETTINGS.items()} | settings


def near(name: object) -> str:
    """Return a hint which setting was meant by a name that does not exist."""
    from difflib import get_close_matches  # slow to import, and rarely needed

    found = get_close_matches(str(name), SETTINGS, 1)
    return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(sorted(SETTINGS))}"


class SessionConfig(_impl.CookieConfig):
    """What the settings come to; one per application, shared by all its threads.

    Raises ValueError for settings that are missing, unsafe or contradict each other, TypeError for one that does not
    exist.
    """

    legacy: "Takeover | None"

    def __init__(self, manager: "SessionManager", settings: Mapping[str, Any]) -> None:
        chosen = checked(settings)
        _check_together(chosen)
        self.manager = manager
        self.clock = chosen["clock"]
        self.cookie = cookie_attributes(
            chosen["cookie_name"],
            path=chosen["cookie_path"],
            domain=chosen["cookie_domain"],
            secure=chosen["cookie_secure"],
            samesite=chosen["cookie_samesite"],
            partitioned=chosen["cookie_partitioned"],
        )
        if not chosen["cookie_secure"]:
            _warn_insecure()
        keys = derive(
            chosen["cookie_key"], chosen["retired_keys"], cookie_name=self.cookie.name, encrypt=chosen["encrypt"]
        )
        self.keys = keys.cookie
        self.key = next(iter(keys.cookie.values()))
        self._label_key = keys.label
        self.compress = chosen["compress"]
        lifetime, idle_timeout = chosen["lifetime"], chosen["idle_timeout"]
        self.with_browser = not lifetime
        self.lifetime_seconds = int((lifetime or DEFAULT_LIFETIME).total_seconds())
        self.idle_seconds = idle_timeout.total_seconds() if idle_timeout else 0.0
        self.passive_paths = tuple(path.rstrip("/") for path in chosen["passive_paths"])
        self.cookie_bytes = self.cookie.payload_limit(1)
        if (threshold := chosen["cookie_only_threshold"]) is not None:
            self.cookie_bytes = min(threshold, self.cookie.payload_limit(MAX_CHUNKS))
        self.degrades = chosen["outage"] == "degrade"
        self.restarts = chosen["on_data_loss"] == "restart"
        self.records: Records | None = None
        self.users: Users | None = None
        store = chosen["store"].cache if chosen["no_datastore"] else chosen["store"]
        self.driver = Loop() if is_async(store) else Threads(chosen["store_threads"], store)
        if store is not None:
            self._keep_in(store, keys, revocable=chosen["revocable"])
        self.legacy = None
        if readers := _several(chosen["legacy"]):
            from gaesess.legacy.takeover import Takeover  # not in every process

            max_bytes = self.cookie_bytes if self.records is None else MAX_RECORD_BYTES
            self.legacy = Takeover(readers, self, max_bytes)
        self.asks_store = self.records is not None or self.legacy is not None

    def _keep_in(self, store: Any, keys: Keys, *, revocable: bool) -> None:
        tiered = as_tiered(store)
        if tiered is None:
            self.records = Records(self, store, keys.record)
        else:
            seconds = min(tiered.cache_seconds, CHECKED_SECONDS) if revocable else tiered.cache_seconds
            self.records = Records(self, store, keys.record, tiered.tiers(keys.cache, self.now, seconds, self.degrades))
        if revocable:
            durable = tiered.durable if tiered else store
            self.users = Users(Records(self, durable, keys.user, kind=b"user"), self.records, keys.handles)

    def is_passive(self, path: str) -> bool:
        """Return whether a request to that path of the URL is no use of its session."""
        return any(path == passive or path.startswith(f"{passive}/") for passive in self.passive_paths)

    def new_token(self, expiration_ts: int | None, ssl_only: bool, keep: Token | None = None) -> Token:
        """Return a new identity that expires at `expiration_ts` (Unix seconds), or like `keep`, or by the lifetime.

        Raises ValueError for a time that is over.
        """
        now = self.now()
        browser = keep.flags & BROWSER if keep else BROWSER if self.with_browser else 0
        if expiration_ts is None:
            expires = keep.expires if keep else now + self.lifetime_seconds
        elif expiration_ts == 0:
            expires, browser = now + self.lifetime_seconds, BROWSER
        else:
            expires, browser = int(expiration_ts), 0
        if not now < expires <= MAX_U32:
            raise ValueError(f"expiration_ts must be 0 or a time to come, in Unix seconds, got {expiration_ts}")
        flags = browser | (SECURE if ssl_only else 0)
        return Token(flags, expires, now, 0, os.urandom(SID_BYTES), b"")

    def require_users(self) -> Users:
        """Return what knows of users and of sessions that have ended. Raises RuntimeError unless `revocable=True`."""
        if self.users is None:
            raise RuntimeError("to sign sessions out elsewhere, set revocable=True, and a store=")
        return self.users

    def leaves_tombstone(self, token: Token) -> bool:
        """Return whether the end of a session must be written to the store: not if no client was sent its id."""
        return bool((self.records and token.flags & RECORDED) or (self.users and token.revision))

    def forget(self, sid: bytes) -> None:
        """Query the store before this session is believed again: it has just ended."""
        if self.users is not None:
            self.users.forget(sid)

    def label(self, sid: bytes) -> str:
        """Return 8 characters by which logs may tell sessions apart, and which lead nobody to a session id."""
        return hmac.digest(self._label_key, sid, "sha256")[:4].hex()


def _check_together(chosen: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that contradict each other."""
    if chosen["encrypt"] and chosen["compress"]:
        raise ValueError("compress=True would let the length of an encrypted session tell of what is in it")
    if chosen["passive_paths"] and chosen["idle_timeout"] is None:
        raise ValueError("passive_paths are for sessions with an idle_timeout")
    if chosen["no_datastore"] and not as_tiered(chosen["store"]):
        raise ValueError("no_datastore=True is for a TieredStore, whose cache it uses; pass the store you want")
    if chosen["revocable"] and chosen["store"] is None:
        raise ValueError("revocable=True needs a store=, to note there which sessions have ended")
    if chosen["cookie_only_threshold"] == 0 and chosen["store"] is None:
        raise ValueError("cookie_only_threshold=0 needs a store=, as nothing may stay in the cookie")
    if chosen["outage"] == "degrade" and not (chosen["revocable"] or as_tiered(chosen["store"])):
        raise ValueError('outage="degrade" is for a TieredStore, whose cache takes over, or for revocable=True')
    if chosen["idle_timeout"] and chosen["lifetime"] and chosen["idle_timeout"] > chosen["lifetime"]:
        raise ValueError(f"idle_timeout must be at most the lifetime, got {chosen['idle_timeout']}")


def _several(readers: Any) -> tuple[Any, ...]:
    return tuple(readers) if isinstance(readers, Iterable) else (readers,)


@cache  # once in a process is enough
def _warn_insecure() -> None:
    events.emit(
        "insecure_cookie",
        "session cookies go over plain HTTP too, for anyone who listens: cookie_secure=False is for development",
    )
