"""One request by a plan, which checks what it is shown and notes what it asks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from browser import Browser
from guarantees.history import ABSENT, UNSEEN, Identity, applied, frozen, resolved
from guarantees.linearizability import NEVER, Operation
from guarantees.tasks import Task
from guarantees.world import CACHE_SECONDS, World, token_of

from gaesess import Home, SessionDataLoss, SessionTerminated, StoreUnavailable
from gaesess._core import POINTER, format_sid
from gaesess.ending import CLOCKS_DIFFER_SECONDS
from gaesess.records import SAVE_SECONDS


class Request:
    """One request on its way through a process: it reads its session, works by its plan, and saves."""

    def __init__(
        self,
        world: World,
        process: int,
        header: str | None,
        plan: list[tuple[Any, ...]],
        durable_faults: Iterable[str | None] = (),
    ) -> None:
        self.world = world
        self.header = header
        self.plan = plan
        self.session = world.managers[process].open(header)
        self.identity = self.sent = world.cookies.get(header) if header else None
        token = token_of(self.session.manager, header)
        self.floor = token.revision if token else 0
        self.points = token is not None and bool(token.flags & POINTER)
        self.read_at = 0
        self.set_cookies: list[str] = []
        self.terminates = False
        self.changes: list[tuple[Any, ...]] = []  # since the last try to save
        self.tried: list[tuple[int, tuple[tuple[Any, ...], ...]]] = []  # when, and what, and not yet known to be saved
        self.was_over = False  # its session, before it began
        self.began, self.times_before = world.elapsed, len(world.times) - 1
        world.keep()
        self.doubtful = False  # the last save has failed, and may have landed
        self.new_id = False  # asked for, and not yet saved
        self.tried_before: list[Operation] = []  # what it had tried to save before it asked
        self.task = Task(self.work, world.durable, durable_faults)
        self.task.step()

    def work(self) -> None:
        try:
            self.read()
            for verb, *arguments in self.plan:
                getattr(self, verb)(*arguments)
            self.save(last=True)
            self.set_cookies = self.session.commit()
        except SessionDataLoss:
            raise AssertionError("a loss is claimed where there is none") from None
        except StoreUnavailable:
            took_long = self.world.elapsed - self.began > SAVE_SECONDS  # with others in its way
            assert self.world.durable in self.task.failed_by or took_long, "a request fails because of the cache alone"
            self.set_cookies = self.session.abandon()
        except SessionTerminated:
            assert self.identity
            given_up = self.identity.given_up and not self.new_id  # else each of those who overlap gets a new id
            assert self.identity.ending or given_up, "only an ended session is called terminated"
            self.set_cookies = self.session.abandon()
        self.check_cookies()

    # -- what is read

    def read(self) -> None:
        identity, floor = self.identity, self.floor
        if identity is None:
            assert not self.session.is_active(), "a session comes out of nothing"
            return
        # What was so before this request began:
        stored_by = list(identity.stored_by)
        self.was_over, shown_until = self.points and (identity.ended or identity.retired), identity.shown_until
        is_sound, stored, tick = self.points and self.world.cache.sound, identity.stored, self.world.tick()
        is_active = self.session.is_active()
        if is_sound and not self.world.replayed:  # nor meanwhile
            floor, self.read_at = max(floor, stored), tick
        if is_active:
            now = self.earliest()
            is_excused = (identity.unmarked or self.world.replayed) and now < shown_until
            assert is_excused or not self.was_over, "an ended session is back"
            if self.points:
                floor = max([floor, *(revision for time, revision in stored_by if time <= now)])
            assert self.session.sid == identity.sid, "a session has an id that nobody gave it"
            assert self.session.revision >= floor, "less is shown than was said to be saved"
            self.see()
            return
        assert identity.ending or identity.given_up, "a living session is shown as none"
        self.identity, self.was_over = None, False

    def earliest(self) -> float:
        """Return the earliest time by a clock that may have been set back since this request began."""
        return min(self.world.times[self.times_before :])

    def overlaps(self) -> bool:
        """Say whether it gives a new id as if it had begun before another one did, for all that clocks can tell."""
        assert self.identity
        is_over_since = self.identity.shown_until - CACHE_SECONDS
        in_time = self.earliest() <= is_over_since + CLOCKS_DIFFER_SECONDS
        return self.new_id and not self.identity.ended and in_time

    def shows_what_was_left_behind(self) -> bool:
        """Say whether it reads the store while all of the session is in its client's cookie.

        There may be a write whose reply was lost, and which the client therefore knows nothing of: a stated limit.
        """
        assert self.identity
        token = token_of(self.session.manager, self.identity.header)
        return self.session.home is Home.STORE and token is not None and not token.flags & POINTER

    def see(self) -> None:
        assert self.identity
        if not self.plan and self.shows_what_was_left_behind():
            return
        revision = (self.session.revision, self.session.home)
        self.identity.see(self.world.tick(), revision, frozen(dict(self.session)))

    @property
    def unsaved(self) -> list[tuple[Any, ...]]:
        """What earlier saves have failed to save, as far as this request knows."""
        return [change for _, changes in self.tried for change in changes]

    # -- what is planned

    def set(self, key: str) -> None:
        value = self.world.tick()  # which no key has yet: to set one to what it is changes nothing
        self.session[key] = value
        self.changes.append(("set", key, value))

    def nested(self, key: str, item: Any) -> None:
        """Change a list in place."""
        if isinstance(self.session.get(key), list):
            self.session[key].append(item)
            self.changes.append(("nested", key, item, list(self.session[key])))

    def grow(self) -> None:
        """Outgrow the cookie, where the session may live there."""
        self.session["filler"] = value = f"{self.world.tick()}{'x' * 200}"
        self.changes.append(("set", "filler", value))

    def delete(self, key: str) -> None:
        if key in self.session:
            del self.session[key]
            self.changes.append(("set", key, ABSENT))

    def clear(self) -> None:
        if self.session:
            self.session.clear()
            self.changes.append(("clear",))

    def increment(self, n: int) -> None:
        self.session.increment("n", n)
        self.changes.append(("add", "n", n))

    def append(self, item: Any) -> None:
        if any(change[:2] == ("set", "items") for change in self.unsaved):
            return  # it would count as one or the other, according to whether that was replayed yet
        self.session.append("items", item)
        self.changes.append(("append", "items", item))

    def regenerate_id(self) -> None:
        if self.session.is_active():
            self.session.regenerate_id()
            self.new_id = True
            if self.identity:
                self.identity.given_up = True
                self.tried_before = self.operations(certain=False)

    def terminate(self) -> None:
        """End the session, and the one that the cookie was of should that be another by now."""
        identities = {identity for identity in (self.identity, self.sent) if identity}
        if self.identity and self.sent in self.identity.ancestors():
            identities.discard(self.sent)  # its id is over by now, and its other heirs are somebody else's
        self.terminates = True
        for identity in identities:
            identity.terminating = True
        self.task.failed_by.discard(self.world.cache)
        self.session.terminate()
        for identity in identities:
            identity.terminated = True
            self.note_end(identity)
        self.changes, self.tried, self.identity = [], [], None
        self.new_id = self.was_over = False

    def save(self, *, last: bool = False) -> None:
        """Save, or try to, and note for the history what was asked, when, and what was seen then."""
        if not self.session.is_active():
            return
        if self.changes:
            self.tried.append((self.world.tick(), resolved(self.unsaved, self.changes)))
            self.changes = []
        target = self.target()
        before = self.session.revision
        self.task.failed_by.discard(self.world.cache)
        try:
            self.session.save()
        except StoreUnavailable:
            self.doubtful = True
            if last:
                self.note(target, certain=False)
                raise
        except SessionTerminated:
            self.note(target, certain=False)
            raise
        else:
            assert self.session.sid == target.sid
            is_same = self.session.revision == before and target is self.identity
            assert is_same or not self.was_over or self.overlaps(), "what is written to an ended session is saved"
            if self.session.revision == before and not self.doubtful:
                self.tried = []  # set and deleted again: there was nothing to save
            self.doubtful = False
            self.note(target, certain=True)

    def target(self) -> Identity:
        """Return the identity under which it saves."""
        sid = self.session.sid
        assert sid
        if sid not in self.world.identities:
            self.world.identities[sid] = Identity(sid, self.identity if self.new_id else None)
        return self.world.identities[sid]

    def note(self, target: Identity, *, certain: bool) -> None:
        """Put into the history of the session what this request has changed, or may have."""
        parent, operations = target.parent, self.operations(certain=certain)
        self.tried = []
        if parent and parent is self.identity:
            target.birth, target.tried_before, target.read_at = operations, self.tried_before, self.read_at
            parent.operations += self.tried_before
            parent.adrift |= not certain
        else:
            target.operations += operations
        if not certain:
            return
        if parent and parent is self.identity:
            target.start = frozen(dict(self.session))
            parent.retired = True
            self.note_end(parent)
        self.identity, self.new_id = target, False
        self.read_at = self.world.tick()
        target.saved = max(self.session.revision, target.saved)
        if self.session.home is Home.STORE:
            target.stored = max(self.session.revision, target.stored)
            target.stored_by.append((self.world.believed_until(), self.session.revision))
        self.see()

    def note_end(self, identity: Identity) -> None:
        """Note that an id of a session is over, and how long the cache may show the session."""
        identity.shown_here_until = self.world.believed_until()
        identity.unmarked_here |= self.world.cache in self.task.failed_by

    def operations(self, *, certain: bool) -> list[Operation]:
        """Return what it has tried to save."""
        ended = self.world.tick() if certain else NEVER
        seen = frozen(dict(self.session)) if certain else UNSEEN
        operations: list[Operation] = []
        for number, (began, changes) in enumerate(self.tried, 1):
            apply = partial(applied, changes, seen if number == len(self.tried) else UNSEEN)
            operations.append(Operation(began, ended, apply, certain, after=operations[-1] if operations else None))
        return operations

    def check_cookies(self) -> None:
        if any("Max-Age=0" in line for line in self.set_cookies):
            assert self.terminates, "a cookie is taken away from one who did not sign out"
        browser = Browser(self.session.manager)
        browser.take(self.set_cookies)
        header, identity = browser.header(), self.identity
        token = token_of(browser.manager, header)
        if token:
            assert identity
            assert format_sid(token.expires, False, token.sid) == identity.sid
            assert token.revision <= identity.saved, "a client was sent a revision that was not saved"
            assert token.revision >= self.floor or identity is not self.sent, "a client's floor sinks"
            assert header
            self.world.cookies[header] = identity
            identity.sent, identity.header = True, header
