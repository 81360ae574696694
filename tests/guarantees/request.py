"""One request by a plan, which checks what it is shown and notes what it asks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from browser import Browser
from guarantees.history import ABSENT, UNSEEN, Lineage, applied, frozen, resolved
from guarantees.linearizability import NEVER, Operation
from guarantees.tasks import Task
from guarantees.world import World

from gaesess import Home, SessionDataLoss, SessionTerminated, StoreUnavailable, _core
from gaesess._core import POINTER, Token


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
        self.lineage = self.lineage_sent = world.cookies.get(header) if header else None
        token = world.managers[process].authenticator.authenticate(header)[0]
        self.sid_sent, self.floor = (format_sid(token), token.revision) if token else ("", 0)
        self.points = token is not None and bool(token.flags & POINTER)
        self.set_cookies: list[str] = []
        self.terminates = False
        self.changes: list[tuple[Any, ...]] = []  # since the last try to save
        self.tried: list[tuple[int, tuple[tuple[Any, ...], ...]]] = []  # when, and what, and not yet known to be saved
        self.new_id = False  # asked for, and not yet saved
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
            assert self.world.durable in self.task.failed_by, "a request fails because of the cache alone"
            self.set_cookies = self.session.abandon()
        except SessionTerminated:
            assert self.lineage
            assert self.lineage.ending or self.lineage.given_up, "only an ended session is called terminated"
            self.set_cookies = self.session.abandon()
        self.check_cookies()

    # -- what is read

    def read(self) -> None:
        lineage, floor = self.lineage, self.floor
        if lineage is None:
            assert not self.session.is_active(), "a session comes out of nothing"
            return
        over = self.points and self.world.is_over(lineage, self.sid_sent)  # before this request began
        if self.points and self.world.cache.sound:
            floor = max(floor, lineage.stored.get(self.sid_sent, 0))
        if self.session.is_active():
            assert not over, "an ended session is back"
            assert self.session.sid == self.sid_sent, "a session has an id that nobody gave it"
            assert self.session.revision >= floor, "less is shown than was said to be saved"
            self.see()
            return
        assert lineage.ending or self.sid_sent in lineage.given_up, "a living session is shown as none"
        self.lineage = None

    def shows_what_was_left_behind(self) -> bool:
        """Say whether it reads the store while all of the session is in its client's cookie.

        There may be a write whose reply was lost, and which the client therefore knows nothing of: a stated limit.
        """
        assert self.lineage
        token = self.session._manager.authenticator.authenticate(self.lineage.header)[0]
        return self.session.home is Home.STORE and token is not None and not token.flags & POINTER

    def see(self) -> None:
        assert self.lineage
        if not self.plan and self.shows_what_was_left_behind():
            return
        revision = (self.session.sid, self.session.revision, self.session.home)
        self.lineage.see(self.world.tick(), revision, frozen(dict(self.session)))

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
            if self.lineage:
                self.lineage.given_up.update(self.lineage.sids)

    def terminate(self) -> None:
        """End the session, and the one that the cookie was of should that be another by now."""
        lineages = [lineage for lineage in (self.lineage, self.lineage_sent) if lineage]
        self.terminates = True
        for lineage in lineages:
            lineage.ending = True
        self.task.failed_by.discard(self.world.cache)
        self.session.terminate()
        for lineage in lineages:
            lineage.ended = True
            lineage.untold |= self.world.cache in self.task.failed_by
        self.changes, self.tried, self.lineage, self.new_id = [], [], None, False

    def save(self, *, last: bool = False) -> None:
        """Save, or try to, and note for the history what was asked, when, and what was seen then."""
        if not self.session.is_active():
            return
        if self.lineage is None:
            self.lineage = Lineage()
        if self.changes:
            self.tried.append((self.world.tick(), resolved(self.unsaved, self.changes)))
            self.changes = []
        self.register()
        before = self.session.revision
        self.task.failed_by.discard(self.world.cache)
        try:
            self.session.save()
        except StoreUnavailable:
            if last:
                self.note(certain=False)
                raise
        except SessionTerminated:
            self.note(certain=False)
            raise
        else:
            self.register()
            if self.session.revision == before:
                self.tried = []  # set and deleted again: there was nothing to save
            self.note(certain=True)
            lineage, sid = self.lineage, self.session.sid
            lineage.saved[sid] = max(self.session.revision, lineage.saved.get(sid, 0))
            if self.session.home is Home.STORE:
                lineage.stored[sid] = max(self.session.revision, lineage.stored.get(sid, 0))
            if self.new_id:
                lineage.retired |= set(lineage.sids) - {sid}
                lineage.untold |= self.world.cache in self.task.failed_by
            self.new_id = False

    def note(self, *, certain: bool) -> None:
        """Put into the history of the session what this request has changed, or may have."""
        lineage, tried = self.lineage, self.tried
        assert lineage
        self.tried = []
        lineage.adrift |= self.new_id and not certain
        ended = self.world.tick() if certain else NEVER
        seen = frozen(dict(self.session)) if certain else UNSEEN
        operation = None
        for number, (began, changes) in enumerate(tried, 1):
            apply = partial(applied, changes, seen if number == len(tried) else UNSEEN)
            operation = Operation(began, ended, apply, certain, after=operation)
            lineage.operations.append(operation)
        if certain:
            self.see()

    def register(self) -> None:
        sid, lineage = self.session.sid, self.lineage
        assert lineage
        assert sid
        if sid not in lineage.sids:
            lineage.sids.append(sid)
            self.world.lineages[sid] = lineage

    def check_cookies(self) -> None:
        if any("Max-Age=0" in line for line in self.set_cookies):
            assert self.terminates, "a cookie is taken away from one who did not sign out"
        browser = Browser(self.session._manager)
        browser.take(self.set_cookies)
        header = browser.header()
        if header:
            assert self.lineage
            token = self.session._manager.authenticator.authenticate(header)[0]
            sid = format_sid(token)
            assert sid == self.sid_sent or self.lineage is not self.lineage_sent or sid in self.lineage.saved
            assert token.revision <= self.lineage.saved[sid], "a client is told that something was saved that was not"
            assert token.revision >= self.floor or sid != self.sid_sent, "a client's floor sinks"
            self.world.cookies[header] = self.lineage
            self.lineage.sent.add(sid)
            self.lineage.header = header


def format_sid(token: Token) -> str:
    return _core.format_sid(token.expires, False, token.sid)
