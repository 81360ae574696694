"""What was asked of a session and answered, in a form that tells whether it can be explained."""

from __future__ import annotations

from typing import Any

from guarantees.linearizability import Operation

ABSENT = None
UNSEEN = "nobody has looked"


class Lineage:
    """One session under all the ids it was given: what was asked of it, and what has become of it."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.sids: list[str] = []  # the latest one last
        self.sent: set[str] = set()  # ids that a client was told
        self.given_up: set[str] = set()  # ids that a request has at least begun to replace
        self.retired: set[str] = set()  # ids that were replaced, and a client was told
        self.states: dict[tuple[Any, ...], Any] = {}  # what it held, by id, revision and whether in its cookie
        self.stored: dict[str, int] = {}  # the same, where it was saved in the store
        self.header: str | None = None  # the last one that its client was told
        self.saved: dict[str, int] = {}  # the latest revision, by id, of which somebody heard that it was saved
        self.adrift = False  # nobody knows whether its old id is over, and the client has that one only: a stated limit
        self.ending = False  # somebody has at least begun to terminate it
        self.ended = False
        self.untold = False  # the cache failed while it, or an id of it, was ended: a stated limit

    def see(self, now: int, revision: tuple[Any, ...], state: Any) -> None:
        """Note what a request was shown of it: the same to all who are shown that revision, and what it once held."""
        known = self.states.setdefault(revision, state)
        if known is state:
            self.operations.append(Operation(0, now, lambda before: before if before == state else None, reads=True))
        else:
            assert known == state, "two requests are shown different data as the same revision"


def resolved(unsaved: list[tuple[Any, ...]], changes: list[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return changes with those in place as what they count as: setting the key or, beside `append`, one more item.

    `unsaved` are earlier ones, whose saves have failed.
    """
    beside = [*unsaved, *changes]
    appends = {change[1] for change in beside if change[0] == "append"} if ("clear",) not in beside else set()
    return tuple(
        (("append", *change[1:3]) if change[1] in appends else ("set", change[1], change[3]))
        if change[0] == "nested"
        else change
        for change in changes
    )


def frozen(data: dict[Any, Any]) -> frozenset[tuple[str, Any]]:
    """Return session data as a state that can be compared and remembered."""
    return frozenset((key, tuple(value) if isinstance(value, list) else value) for key, value in data.items())


def applied(changes: tuple[tuple[Any, ...], ...], seen: Any, state: Any) -> Any:
    """Return the state after a request's changes, or None if the request saw another."""
    data = dict(state)
    for verb, *arguments in changes:
        if verb == "clear":
            data.clear()
            continue
        key, value = arguments
        if verb == "add":
            data[key] = data.get(key, 0) + value
        elif verb == "append":
            data[key] = (*data.get(key, ()), value)
        elif value is ABSENT:
            data.pop(key, None)
        else:
            data[key] = tuple(value) if isinstance(value, list) else value
    state = frozenset(data.items())
    return state if seen in (UNSEEN, state) else None
