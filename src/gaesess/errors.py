"""Every error gaesess raises on its own account, as one tree; each docstring gives the likely cause."""

from __future__ import annotations


class GaesessError(Exception):
    """The root of the tree: catch it to catch all that gaesess itself raises."""


class InvalidToken(GaesessError, ValueError):
    """A cookie or a stored record that is not to be believed. The middleware turns it into an inactive session."""


class MalformedToken(InvalidToken):
    """It has not the shape of a token: cut short, damaged, doubled, or never one of ours."""


class UnknownKey(InvalidToken):
    """It names a key that is not in the keyring: the key was retired for good, or belongs to another application."""


class BadSignature(InvalidToken):
    """Its tag does not fit: somebody changed it, or it was sealed with another key, purpose or cookie name."""


class ExpiredToken(InvalidToken):
    """It is genuine, and its time is over."""


class RecordGone(InvalidToken):
    """It points to a record that has ended: the session was terminated, or a cache by itself has evicted it."""


class SessionTooLarge(GaesessError, ValueError):
    """The session fits neither the cookie nor, if there is one, the store. Keep big data elsewhere, its key here."""


class SessionClosed(GaesessError, RuntimeError):
    """The session was changed after the response headers had gone out, too late to be saved."""


class SessionTerminated(GaesessError):
    """A concurrent request terminated the session, or its stored record was removed, before this one could save it."""


class StoreError(GaesessError):
    """The root of what a store raises."""


class StoreUnavailable(StoreError):
    """The store could not answer, or could not confirm a write: it is down, unreachable, too slow or contended."""


class StoreBusy(StoreUnavailable):
    """Nothing was written: others have held the store's lock for as long as its timeout. Do not wait once more."""


class SessionDataLoss(StoreUnavailable):
    """The store has lost what a client was told was saved: it was restored from a backup, emptied, or tampered with.

    A sign-in begins a new session for such a client: `regenerate_id`, or the login of Django or Flask-Login. So does
    `session.start()`, and, for any use, the setting `on_data_loss="restart"`. `session.terminate()` works as usual.
    """


class KeyExists(StoreError):
    """`Store.add` found a record under that key already: a concurrent request was first."""


class Conflict(StoreError):
    """`Store.replace` found another version than the one read: a concurrent request has written in between."""


class Gone(StoreError):
    """`Store.replace` found no record: the session was terminated, or a cache has evicted it."""
