"""The writing of a session's record, whatever concurrent requests and lost replies have done to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from gaesess import events
from gaesess._core import Token
from gaesess.active import ActiveSession
from gaesess.errors import (
    Conflict,
    Gone,
    KeyExists,
    SessionDataLoss,
    SessionTerminated,
    StoreUnavailable,
)
from gaesess.record import History, Record
from gaesess.records import MAX_TRIES, Records


class Recorder:
    """Writes the records of sessions; where it `degrades`, to the cache alone while the durable store is down."""

    def __init__(self, records: Records, label: Callable[[bytes], str], *, degrades: bool) -> None:
        self._records = records
        self._label = label
        self._degrades = degrades

    def write(self, active: ActiveSession, token: Token, *, whole_in_cookie: bool) -> bool:
        """Write `token` as the session's record. False: others have written, and what to write is to be made anew.

        `whole_in_cookie` says that the cookie will have all of it, too.

        Raises SessionTerminated and StoreUnavailable. After the latter the write may have landed or not: the session's
        contents remember it, and the next write finds it out.
        """
        before = active.history or History(cookie_revision=active.token.revision)
        history = before.continued(cookie_revision=token.revision if whole_in_cookie else None)
        try:
            active.version = self._records.write(token, active.version, history)
        except (KeyExists, Conflict, Gone):
            return self._merge(active, token, history)
        except StoreUnavailable:
            return self._settle(active, token, history)
        active.token, active.history = token, history
        return True

    def _merge(self, active: ActiveSession, token: Token, history: History) -> bool:
        """Go on after a write that the store has refused, as `write` does.

        Either a concurrent request has written, or the store's client library has sent this write twice and the store
        has refused the second one.
        """
        write_id = history.writes[0]
        try:
            record = self._records.latest(active.token)
        except StoreUnavailable:
            active.contents.attempted(write_id, token)
            raise
        if record is not None and write_id in record.history.writes:
            return self._settle(active, token, history)
        done = self._catch_up(active, record)
        self._emit("conflict_merged", "took up the changes of a concurrent request", active)
        return done

    def _settle(self, active: ActiveSession, token: Token, history: History) -> bool:
        """Go on after a write whose outcome is not known, as `write` does: the record tells."""
        tries = active.contents.attempted(history.writes[0], token)
        try:
            done = self._catch_up(active, self._records.latest(active.token))
            self._emit("outcome_settled", "looked up whether a write has landed", active, landed=done)
            if done or tries < MAX_TRIES:
                return done
            raise StoreUnavailable(f"the session store can be read, and failed to write {tries} times")
        except SessionDataLoss:
            raise
        except StoreUnavailable:
            if self._degrades and active.token.revision + 1 == token.revision and self._degrade(active, token, history):
                return True
            raise

    def _degrade(self, active: ActiveSession, token: Token, history: History) -> bool:
        version = self._records.write_quick(token, active.version, history)
        if version is None:
            return False
        active.token, active.version, active.history = token, version, history
        self._emit("degraded", "saved in the cache alone, as the durable store is down", active)
        return True

    def _catch_up(self, active: ActiveSession, record: Record | None) -> bool:
        """Take up the record as it is by now, and return whether all of the session is in it already."""
        if record is None:
            if active.version is not None and self._records.may_forget:
                raise SessionTerminated("the session was evicted from its store while this request was at work")
            active.version = None  # it is added, with all that this request has of it
            return False
        if self._is_older(record, active):
            self._overwrite(active, record)
            return False
        landed = active.contents.landed(record)
        if landed:
            write_id, active.token = landed
            active.history = record.history.up_to(write_id)
            if active.history == record.history:  # else others have written since, as the next save will find
                active.version = record.version
            return True
        if active.history and record.lacks(active.history.writes[0], active.token.revision):
            self._emit("data_loss", "the store does not have what it had when this request began", active)
            raise SessionDataLoss("the store does not have what it had when this request began")
        active.contents.rebase(record)
        active.token = record.token._replace(issued=active.token.issued)
        active.version, active.history = record.version, record.history
        return active.contents.changed_payload() is None

    def _is_older(self, record: Record, active: ActiveSession) -> bool:
        """Return whether nobody has written since what this request knows, or nothing that its client ever heard of."""
        if active.history:
            return record.history.writes[0] in active.history.writes
        return record.history.cookie_revision < active.token.revision

    def _overwrite(self, active: ActiveSession, record: Record) -> None:
        active.version = record.version
        if not active.history:
            active.history = History(record.history.write_ids, active.token.revision)
            revision = max(active.token.revision, record.token.revision)  # it may have tries that nobody heard of
            active.token = active.token._replace(revision=revision)

    def _emit(self, name: str, message: str, active: ActiveSession, **fields: object) -> None:
        events.emit(name, message, session=self._label(active.token.sid), revision=active.token.revision, **fields)
