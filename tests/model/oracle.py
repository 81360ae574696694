"""What the guarantees ask of a schedule that is over: from what was acknowledged alone, and simpler than the code.

Rules are numbered as in docs/explanation/guarantees.md. "Limit:" names a limit that is stated there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Any

from gaesess import _impl
from gaesess._core import POINTER, RECORDED
from model.engines import CACHE, DURABLE, Engine
from model.requests import ABSENT, FILLER, Request, Save, Seen
from model.world import TIME, Process, Shards, World, run_alone, token_of


def judge(world: World) -> str | None:
    """Return what is wrong with a schedule, None if nothing is."""
    if world.wrong:
        return world.wrong
    if any(request.state == "live" for request in world.requests.values()):
        return "deadlock: nobody can go on"
    return Oracle(world).judge()


def _numbered(shards: Any) -> Iterable[tuple[int, dict[bytes, Any]]]:
    return shards.items() if isinstance(shards, Shards) else enumerate(shards)


@lru_cache(10_000)
def _text(token: Any) -> str:
    return _impl.format_sid(token.expires, False, token.sid)


_seen: dict[Any, Seen | str] = {}


class Oracle:
    """What is known of a schedule that is over."""

    def __init__(self, world: World) -> None:
        self.world, self.case, self.start = world, world.case, world.start
        self.requests = list(world.requests.values())
        self.sid = world.start.sid_text
        self.heirs = {request.heir: request for request in self.requests if request.heir}
        self.begun = {request.begun: request for request in self.requests if request.begun}
        token = token_of(self.start.setup.manager, self.start.cookies[-1])
        # Limit: without `revocable` a session in its cookie leaves nothing where it ends.
        self.leaves_tombstone = self.case.revocable or bool(token.flags & RECORDED)
        self.shown: dict[tuple[str, int], Any] = {}

    def judge(self) -> str | None:
        for request in self.requests:
            if wrong := self._wrong_with(request):
                return f"{request.name}: {wrong}"
        self.world.finish()
        heard = self.world.milestones()
        cookies = [("the old cookie", None, header) for header in self.start.cookies[:-1]]
        cookies.append(("the cookie", None, self.start.cookies[-1]))
        for request in self.requests:
            if request.held and request.held != self.start.cookies[-1]:
                cookies.append((f"{request.name}'s cookie", request, request.held))
        for when, process, engines, seconds in self._looks():
            state = frozenset(engines[DURABLE].records.items()), frozenset(engines[CACHE].records.items())
            for name, owner, header in cookies:
                seen = self._seen(header, process, engines, seconds, state)
                if wrong := self._wrong_with_cookie(owner, header, seen, heard, seconds, process):
                    return f"{name}, {when}: {wrong}"
        return None

    # -- each request

    def _wrong_with(self, request: Request) -> str | None:
        outcome = request.outcome
        # Who waits in the same process for one that the store hung for is refused with them.
        failed = any(each.failed for each in self.requests if each.process is request.process)
        if outcome == "unavailable" and not (failed or self.world.stepped):
            return "5: it fails although the durable store did not"
        if outcome == "terminated" and not self._may_be_over(self.sid):
            return "5: a session is said to be terminated that nobody has ended"
        if request.answer and request.held is None and "end" not in request.tried:
            return "5: a cookie is deleted though nobody has signed out there"
        for seen in request.seen:
            if wrong := self._wrong_with_seen(request, seen):
                return wrong
        return None

    def _wrong_with_seen(self, request: Request, seen: Seen) -> str | None:
        token = token_of(self.start.setup.manager, request.cookie)
        if seen.sid is None:
            return None if self._may_be_over(self.sid) else "5: it finds no session, though nobody has ended it"
        if seen.sid != self.sid:
            return "5: the session has an id that nobody gave it"
        if seen.revision < token.revision:
            return "3: it is shown less than its cookie says"
        # Limit: a copy of a cookie that holds the session stays valid, unless `revocable`.
        believed = not token.flags & POINTER and not self.case.revocable
        if self._is_over(self.sid, request.after, request.began) and not believed and not self.world.evicted:
            return "2: it finds a session that had ended before it began"
        sure = seen.in_store and self._is_fresh()
        must = [save for save in self._heard(request.after) if save.in_store and save.sid == seen.sid] if sure else []
        return self._wrong_data(seen, must, [save for save in self._saves() if save not in must]) or self._same(seen)

    def _is_fresh(self) -> bool:
        """Return whether everybody must be shown at once what others have saved.

        Limit: with a cache that shows within `cache_seconds`. But more is demanded here, at once where the cache
        answered: nothing less shows whether entries go back.
        """
        return not self.world.soft

    def _heard(self, after: dict[str, float]) -> list[Save]:
        """Return the saves of which anybody had heard by then."""
        requests = self.requests
        return [save for each in requests for save in each.saves if f"{each.name} saved{save.number}" in after]

    def _same(self, seen: Seen) -> str | None:
        """Return what is wrong if a revision in the store was shown with other data before."""
        if not seen.in_store or any("quick" in op for op in self.case.ops):
            return None
        # Limit: with the record a store has forgotten that the session left its cookie, which is valid again; the next
        # move makes the same revision of it.
        if self.case.home == "cookie" and seen.sid == self.sid and "the-record" in self.world.evicted:
            return None
        if self.shown.setdefault((seen.sid, seen.revision), seen.data) != seen.data:
            return "3: one revision is shown with different data"
        return None

    # -- what the end of a session is

    def _may_be_over(self, sid: str) -> bool:
        """Return whether anybody has at least begun to end the session of that id, or to give it another."""
        if self.world.evicted:
            return True
        begun = set(chain.from_iterable(request.tried for request in self.requests))
        if "revoke" in begun and (self.case.bound or "bind" in begun):
            return True
        if sid in self.begun:
            return False
        return "end" in begun or (sid == self.sid and "regenerate" in begun)

    def _is_over(self, sid: str, heard: dict[str, float], at: float, process: Process | None = None) -> bool:
        """Return whether, by what was acknowledged, the session of that id must be known to have ended at that time.

        Limit: where the cache did not hear of it, an ended session may be believed for a while, and by a process that
        has checked it and did not end it.
        """
        for request in self.requests:
            ends = ["end"] if self.leaves_tombstone and sid not in self.begun else []
            if request.heir and sid == self.sid and self.leaves_tombstone:
                ends.append("saved1")
            # Limit: users' records last as long as the store remembers them.
            if self._was_bound_before(request, sid) and not self.world.evicted:
                ends.append("revoke")
            for end in ends:
                since = heard.get(f"{request.name} {end}")
                if since is None:
                    continue
                elsewhere = process is not None and process is not request.process
                if not (self.world.soft or elsewhere) or at - since >= self.case.bound_seconds:
                    return True
        return False

    def _is_back(self, sid: str) -> bool:
        """Return whether a session got a new id after somebody had been told that it had ended."""
        told = self.world.told
        if sid not in self.heirs or self.case.home != "store" or (self.heirs[sid].name, "saved1") not in told:
            return False
        return any(what == "end" for _, what in told[: told.index((self.heirs[sid].name, "saved1"))])

    def _was_bound_before(self, revoking: Request, sid: str) -> bool:
        for request in self.requests:
            if "bind" in request.tried and f"{request.name} saved1" not in revoking.after:
                return False  # it may have been signed in since
        return self.case.bound and sid not in self.begun

    # -- at the end

    def _looks(self) -> Iterable[tuple[str, Process, dict[str, Engine], float]]:
        """Yield who looks at the end, at what, and how many seconds later."""
        engines, later = self.world.engines, self.case.bound_seconds + 1
        yield "at once", self.start.reader, engines, 0
        # A process that remembers to have checked a session may not let it in where it was ended.
        remembering = [process for process in self.start.processes if process.users and process.checked()]
        dead = {id(request.process) for request in self.requests if request.outcome == "died"}
        remembering = [process for process in remembering if id(process) not in dead]
        for process in remembering:
            yield "at once, in a process of theirs", process, engines, 0
        yield "later", self.start.reader, engines, later
        if self.case.kind == "tiered":
            yield "later, without the cache", self.start.reader, {**engines, CACHE: Engine()}, later
        for process in remembering:
            yield "later, in a process of theirs", process, engines, later

    def _seen(
        self, header: str, process: Process, engines: dict[str, Engine], seconds: float, state: Any
    ) -> Seen | str:
        """Return what somebody is shown who comes with that cookie, or what is raised."""
        now = TIME.wall, TIME.steady
        key = None if process is not self.start.reader else (self.case, header, hash(state), TIME.wall + seconds)
        if key in _seen:
            return _seen[key]
        TIME.pass_by(seconds)
        remembered = process.users and process.users._checked
        if process is self.start.reader:
            process.reset()
        elif process.users:
            process.users._checked = Shards({number: dict(shard) for number, shard in _numbered(remembered)})
        engines = {name: engine.copy() for name, engine in engines.items()}
        try:
            seen: Seen | str = run_alone(self._look(process, header), engines, "reader")
        except Exception as error:
            seen = f"4: it raises {type(error).__name__}: {error}"
        finally:
            TIME.set(*now)
            if process.users:
                process.users._checked = remembered
        if key is not None:
            if len(_seen) > 50_000:
                _seen.clear()
            _seen[key] = seen
        return seen

    def _wrong_with_cookie(
        self,
        owner: Request | None,
        header: str,
        seen: Seen | str,
        heard: dict[str, float],
        seconds: float,
        process: Process,
    ) -> str | None:
        if isinstance(seen, str):
            return seen
        token = token_of(self.start.setup.manager, header)
        sid = _text(token)
        copied = not token.flags & POINTER and not self.case.revocable  # limit: a copy of a cookie stays valid
        if seen.sid is None:
            return None if self._may_be_over(sid) else "4: the session is lost"
        if seen.sid != sid:
            return "5: the session has another id"
        if seen.revision < token.revision:
            return "3: it is shown less than it says"
        # Limit: of what is in cookies, tombstones last as long as the store remembers them.
        # And so does what other ids it was given.
        in_store = token.flags & POINTER and self.case.home == "store" and sid == self.sid
        copied |= bool(self.world.evicted) and not in_store
        if self.world.evicted and self._is_back(sid):
            return "2: an ended session is back under a new id"
        theirs = None if process is self.start.reader else process
        if not copied and self._is_over(sid, heard, TIME.steady + seconds, theirs):
            return "2: a session is active that has ended"
        # With `revocable` a copy of a cookie from before the session moved shows what the store has: at once where
        # nobody remembers to have checked it, or who does has moved it.
        here = process is self.start.reader or self.world.one_process or seconds > 0
        moved = self.case.revocable and here and owner is None and not self.world.evicted
        sure = seconds > 0 or self._is_fresh()
        must, may = self._obligations(owner, sid, sure and bool(moved or token.flags & POINTER))
        return self._wrong_data(seen, must, may) or self._same(seen)

    async def _look(self, process: Process, header: str) -> Seen:
        session = process.manager.open(header)
        await session.aload()
        return Seen(session)

    # -- data

    def _saves(self) -> list[Save]:
        return [save for request in self.requests for save in request.saves]

    def _obligations(self, owner: Request | None, sid: str, in_store: bool) -> tuple[list[Save], list[Save]]:
        """Return the saves that a session of that id must show to a client with that cookie, and those that it may."""
        own = [save for save in owner.saves if save.heard and save.sid == sid] if owner else []
        if sid in self.begun:
            return own, [save for save in self.begun[sid].saves if save not in own]
        others = []
        # Limit: what others save while all of the session is in a cookie is in other cookies.
        # Limit: with an evicted record its changes are lost; who has read it before gets 409.
        if in_store and not (self.world.evicted and self.case.home == "cookie"):
            for save in self._saves():
                # Limit: beside another heir, what was saved under the old id may have gone to that one.
                mine = save.sid == sid or (sid in self.heirs and save.sid == self.sid and len(self.heirs) == 1)
                if save.heard and save.in_store and mine and save not in own:
                    others.append(save)
        must = own + others
        return must, [save for save in self._saves() if save not in must and save.sid not in self.begun]

    def _wrong_data(self, seen: Seen, must: list[Save], may: list[Save]) -> str | None:
        certain = tuple(change for save in must for change in save.changes)
        possible = tuple(change for save in may for change in save.changes)
        return _wrong_data(seen.data, certain, possible, self.case.home == "store", seen.sid in self.begun)


Changes = tuple[tuple[Any, ...], ...]


@lru_cache(100_000)
def _wrong_data(
    seen: frozenset[tuple[str, Any]], certain: Changes, possible: Changes, was_stored: bool, begun: bool
) -> str | None:
    """Return what is wrong if no order of these changes leads to the data, each certain once, each possible at most.

    Every save changes keys of its own, or what adds up, and one pair of keys that must fit each other. `begun` is
    whether a request began the session, `was_stored` whether it was in the store at the start.
    """
    data = dict(seen)
    if not begun:
        if wrong := _wrong_sums(data, certain, possible):
            return wrong
        if data.get("x") != data.get("z"):
            return "1: of two keys that were written together one is lost"
    for key in {*data, *(change[1] for change in certain if len(change) > 2)} - {"n", "items"}:
        values = [change[2] for change in certain if change[:2] == ("set", key)]
        values += [change[2] for change in possible if change[:2] == ("set", key)]
        values += [change[2] for change in certain + possible if change[:2] == ("quick", key)]
        if not any(change[:2] == ("set", key) for change in certain):
            values += [ABSENT] if begun else _initial(key, was_stored)
        if data.get(key, ABSENT) not in values:
            return f"1: {key!r} is {data.get(key)!r}, and that was not saved last"
    return None


def _initial(key: str, was_stored: bool) -> list[Any]:
    if key == "f":
        return [ABSENT, FILLER] if was_stored else [ABSENT]
    return ["", "0"] if key in ("x", "z") else [ABSENT]


def _wrong_sums(data: dict[str, Any], certain: Changes, possible: Changes) -> str | None:
    total = 1 + sum(change[2] for change in certain if change[0] == "add")
    sums = {total}
    for change in possible:
        if change[0] == "add":
            sums |= {each + change[2] for each in sums}
    if data.get("n") not in sums:
        return f"1: the sum is {data.get('n')}, not {' or '.join(map(str, sorted(sums)))}"
    items = data.get("items", ())
    wanted = [change[2] for change in certain if change[0] == "append"]
    allowed = [change[2] for change in possible if change[0] == "append"]
    if items[:1] != (0,) or len(set(items)) != len(items) or not set(wanted) <= set(items):
        return f"1: the items are {items}, not 0 and {wanted} each once"
    if not set(items) <= {0, *wanted, *allowed}:
        return f"1: the items {items} are more than anybody appended"
    return None
