"""Sessions that live in a signed cookie, and move to a store by themselves when they outgrow it."""

from gaesess._impl import IMPLEMENTATION
from gaesess.cleanup import delete_expired_sessions
from gaesess.errors import (
    Conflict,
    GaesessError,
    Gone,
    InvalidToken,
    KeyExists,
    SessionClosed,
    SessionDataLoss,
    SessionTerminated,
    SessionTooLarge,
    StoreBusy,
    StoreError,
    StoreUnavailable,
)
from gaesess.keys import generate_key
from gaesess.manager import SessionManager
from gaesess.session import Home, Session, State, get_current_session, set_current_session
from gaesess.values import register
from gaesess.wsgi import SessionMiddleware

__all__ = [
    "IMPLEMENTATION",
    "Conflict",
    "GaesessError",
    "Gone",
    "Home",
    "InvalidToken",
    "KeyExists",
    "Session",
    "SessionClosed",
    "SessionDataLoss",
    "SessionManager",
    "SessionMiddleware",
    "SessionTerminated",
    "SessionTooLarge",
    "State",
    "StoreBusy",
    "StoreError",
    "StoreUnavailable",
    "delete_expired_sessions",
    "generate_key",
    "get_current_session",
    "register",
    "set_current_session",
]
