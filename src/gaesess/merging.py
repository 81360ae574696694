"""How what a request has changed is replayed, key by key, on what another one has saved since."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from gaesess import _impl
from gaesess._core import ADDED, WRITTEN
from gaesess.errors import MalformedToken, StoreUnavailable

if TYPE_CHECKING:
    from gaesess.records import Record
    from gaesess.saving import Draft


def rebase(draft: Draft, record: Record) -> None:
    """Replay the changes of a session, key by key, on a record that a concurrent request has saved since.

    If an attempt of this request is in the record, only what was changed after it is replayed. Raises StoreUnavailable
    if nobody can tell, or if the record cannot be read here.
    """
    try:
        fresh = _impl.loads(record.token.payload)
    except MalformedToken as error:  # a newer version of the application may hold types there that this has not
        raise StoreUnavailable(f"a concurrent request has written what cannot be read here: {error}") from error
    _settle_attempts(draft, record)
    before = _impl.loads(draft.payload) if draft.payload else {}
    changed = changed_keys(draft.data, before, draft.written)
    data = {} if draft.cleared else fresh
    for key in list(data):
        if key in changed and key not in draft.data:
            del data[key]
        elif key not in changed and key in draft.data and _same(key, draft.data, data):
            data[key] = draft.data[key]  # the application may have it in its hands
    for key in draft.data:
        if key in changed:
            data[key] = _replayed(draft, key, before, data)
    draft.data, draft.payload = data, record.token.payload
    draft.written = {key: ADDED if draft.written.get(key) == ADDED else WRITTEN for key in changed}


def _settle_attempts(draft: Draft, record: Record) -> None:
    """Find out which attempts have landed in this record; of those that have not, none ever will."""
    for write_id, attempt in list(draft.attempts.items()):
        if attempt.sid != record.token.sid:
            continue
        if record.has(write_id, attempt.revision):
            draft.payload, draft.cleared = attempt.payload, False
            draft.written = {key: how for key, how in draft.written.items() if how == ADDED}
        del draft.attempts[write_id]


def _replayed(draft: Draft, key: Hashable, before: dict[Hashable, Any], fresh: dict[Hashable, Any]) -> Any:
    mine = draft.data[key]
    if draft.written.get(key) != ADDED or type(fresh.get(key, mine)) is not type(mine):
        return mine
    nothing = type(mine)()
    old, new = before.get(key, nothing), fresh.get(key, nothing)
    if type(mine) is int:
        return new + mine - old
    if not _same(key, {key: mine[: len(old)]}, {key: old}):
        return mine  # it was changed in other ways too
    mine[: len(old)] = new  # in place: the application may have it in its hands
    return mine


def changed_keys(data: dict[Hashable, Any], before: dict[Hashable, Any], written: dict[Hashable, int]) -> set[Hashable]:
    """Return the keys that were written, or changed in place, since the data were as `before`."""
    changed = {key for key, how in written.items() if how != ADDED}
    changed |= before.keys() ^ data.keys()
    return changed | {key for key in before.keys() - changed if not _same(key, data, before)}


def _same(key: Hashable, one: dict[Hashable, Any], other: dict[Hashable, Any]) -> bool:
    return _impl.dumps({key: one[key]}) == _impl.dumps({key: other[key]})
