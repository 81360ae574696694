"""What was asked of a session and answered, in a form that tells whether it can be explained."""

from __future__ import annotations

from typing import Any

from guarantees.linearizability import NEVER, Operation, explains

ABSENT = None
UNSEEN = "nobody has looked"


class Identity:
    """A session under one id: what was asked of it, and what has become of it.

    With a new id it goes on as an heir. Requests that overlap may give it one each, and each heir goes its own way.
    """

    def __init__(self, sid: str, parent: Identity | None = None) -> None:
        self.sid = sid
        self.parent = parent
        self.heirs: list[Identity] = []  # those that a request has at least begun to save
        self.start: Any = None if parent else frozen({})  # what it held at first; None if that was never acknowledged
        self.operations: list[Operation] = []
        self.states: dict[tuple[Any, ...], Any] = {}  # what it held, by revision and whether in its cookie
        self.saved = 0  # the latest revision of which somebody heard that it was saved
        self.stored = 0  # the same, where it was saved in the store
        self.stored_by: list[tuple[float, int]] = []  # times from which no cache can show less, and these revisions
        self.sent = False  # a client was told the id
        self.header: str | None = None  # the last one that its client was told
        self.given_up = False  # a request has at least begun to replace the id
        self.retired = False  # the id was replaced, and somebody heard of it
        self.adrift = False  # nobody knows whether the id is over, and the client has it only: a stated limit
        self.terminating = self.terminated = False  # under this id: somebody has begun to, and was told that it is done
        self.shown_here_until = 0.0  # when it was over: the time until which a cache that cannot hear of it may show it
        self.unmarked_here = False  # the cache failed when it was to be marked
        # Of the request that made it an heir:
        self.birth: list[Operation] = []  # all that it has changed by then
        self.tried_before: list[Operation] = []  # what of that may be saved under the old id, too
        self.read_at = 0.0  # when it was shown all that was acknowledged under the old id by then
        if parent:
            parent.heirs.append(self)

    def ancestors(self) -> list[Identity]:
        """Return what it was before, the first one last."""
        return [self.parent, *self.parent.ancestors()] if self.parent else []

    # The end of a session is that of its heirs, too.

    @property
    def ending(self) -> bool:
        """Whether somebody has at least begun to terminate it."""
        return self.terminating or (self.parent is not None and self.parent.ending)

    @property
    def ended(self) -> bool:
        """Whether it is terminated."""
        return self.terminated or (self.parent is not None and self.parent.ended)

    @property
    def unmarked(self) -> bool:
        """Whether the cache may show it though it is over, but not for longer than stated."""
        return self.unmarked_here or (self.parent is not None and self.parent.unmarked)

    @property
    def shown_until(self) -> float:
        """The time from which no cache can show it, once it is over."""
        return max(self.shown_here_until, self.parent.shown_until if self.parent else 0.0)

    def see(self, now: int, revision: tuple[Any, ...], state: Any) -> None:
        """Note what a request was shown of it: the same to all who are shown that revision, and what it once held."""
        known = self.states.setdefault(revision, state)
        if known is state:
            self.operations.append(Operation(0, now, lambda before: before if before == state else None, reads=True))
        else:
            assert known == state, "two requests are shown different data as the same revision"

    def is_explained(self, final: Any) -> bool:
        """Return whether what was asked and answered, and what it has in the end if that is known, fit together."""

        def ends(state: Any) -> bool:
            return final in (None, state)

        if self.parent is None:
            return explains(self.operations, self.start, ends)
        if self.start is None:
            return explains(self._inherited(), self.parent.start, ends)
        begins = explains(self._inherited(), self.parent.start, lambda state: state == self.start)
        return begins and explains(self.operations, self.start, ends)

    def _inherited(self) -> list[Operation]:
        """Return what it has from its parent, and from the request that made it an heir.

        Once the id has another heir, the old record is gone: what was saved there after this request had read it is not
        known to this heir, unless it was met with before: a stated limit.
        """
        assert self.parent
        known = NEVER if self.parent.heirs == [self] and self.start is not None else self.read_at
        inherited = [operation for operation in self.parent.operations if operation not in self.tried_before]
        return self.birth + [
            operation if operation.ended <= known else operation._replace(certain=False, ended=NEVER)
            for operation in inherited
        ]


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
