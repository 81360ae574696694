"""Users who do at random what users do, and know what they must see."""

from __future__ import annotations

import json
import random
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from http.client import HTTPException

from engines.processes import Http
from engines.visitor import Answer, Request, Visitor, complaints
from soak.diary import MOUNTS, Diary, Ended
from wsgi.client import CookieJar

from gaesess._core import POINTER

THINKING_SECONDS = 0.02  # at most, between two requests
SMALL = (50, 300, 800)  # bytes: these sessions live in their cookie
LARGE = (100, 5_000, 20_000, 90_000)  # and these mostly do not
LOST = b"The session store has lost your session."  # what a response says


class Client(threading.Thread):
    """A user with a keep-alive connection, who signs in, and out, and in again until told to stop."""

    VERBS = (("read", 30), ("increment", 25), ("append", 20), ("resize", 12), ("regenerate", 5), ("sign_out", 3))
    HAUNTS = 0.02  # as often it uses the cookies of a session that has ended

    def __init__(self, port: int, mount: str, user: str, sizes: Sequence[int], diary: Diary, seed: int) -> None:
        super().__init__(name=user)
        self.http = Http(port, mount)
        self.mount = mount
        self.user = user
        self.sizes = sizes
        self.diary = diary
        self.random = random.Random(seed)
        self.done = threading.Event()
        self.items = 0
        self.signed_in = False
        self.may_be_out = False  # the outcome of a request that gave the session a new id is not known
        self.may_have_ended = False  # and a read cannot tell it, because the session is in its cookie
        self.written_at = 0.0  # when the last write was acknowledged, by the monotonic clock
        self.visitor = self.new_visitor()

    def run(self) -> None:
        verbs, weights = zip(*self.VERBS, strict=True)
        while not self.done.wait(self.random.uniform(0, THINKING_SECONDS)):
            try:
                if self.random.random() < self.HAUNTS:
                    self.haunt()
                elif not self.signed_in:
                    self.sign_in()
                elif self.may_be_out:
                    self.read()
                else:
                    getattr(self, self.random.choices(verbs, weights)[0])()
            except Exception as error:
                self.diary.note_wrong("a client has failed", example=repr(error))
                raise

    def new_visitor(self, cookies: CookieJar | None = None) -> Visitor:
        return Visitor(self.send, self.user, cookies)

    def send(self, request: Request) -> Answer:
        answer = self.exchange(request, self.written_at)
        if is_lost(answer) or answer.status == 409:
            self.signed_in = False
        return answer

    def exchange(self, request: Request, written_at: float) -> Answer:
        """Send a request and note the answer; that the session is lost too, which was last written to then."""
        began = time.monotonic()
        try:
            answer = self.http.send(request)
        except (OSError, HTTPException):  # the worker was killed
            answer = Answer(0, [], b"")
        if is_lost(answer):
            self.diary.note_lost(written_at)
            return answer
        self.diary.note_answer(answer.status, began)
        if answer.status not in (0, 200, 503) and not (answer.status == 409 and self.may_have_ended):
            self.diary.note_wrong(f"{request.path} was answered {answer.status}", example=answer.body[:200])
        return answer

    def haunting(self, ended: Ended) -> Visitor:
        """Return a visitor with the cookies of a session that has ended."""
        return Visitor(lambda request: self.exchange(request, ended.at), "", ended.cookies)

    def write(self, verb: str, **form: object) -> Answer:
        return self.note_write(verb, self.visitor.ask(verb, **form))

    def note_write(self, verb: str, answer: Answer) -> Answer:
        if answer.status == 200:
            self.written_at = time.monotonic()
        self.diary.note_write(verb, answer.status)
        return answer

    def sign_in(self) -> None:
        self.visitor = self.new_visitor()
        self.may_be_out = self.may_have_ended = False
        self.signed_in = self.write("start", user=self.user, size=self.random.choice(self.sizes)).status == 200

    def read(self) -> None:
        told = self.visitor.try_to_read()
        if told is None:
            return
        if told["user"] is None:
            self.signed_in = False
            if not self.may_be_out:
                self.diary.note_wrong("a user was signed out", example=f"{self.mount} {self.user}")
        else:
            self.check(told)
            if is_pointer(self.visitor.cookies):
                self.may_have_ended = False
        self.may_be_out = False

    def check(self, told: dict[str, object]) -> None:
        known = self.visitor.increments
        example = f"{self.mount} {self.user}: n={told['n']}, {known.acknowledged} acknowledged, {known.unknown} unknown"
        self.diary.note_wrong(*complaints([self.visitor], told), example=example)

    def increment(self) -> None:
        self.note_write("increment", self.visitor.increment())

    def append(self) -> None:
        self.items += 1
        self.note_write("append", self.visitor.append(f"{self.user} {self.items}"))

    def resize(self) -> None:
        self.write("resize", size=self.random.choice(self.sizes))

    def regenerate(self) -> None:
        written_at = self.written_at
        answer = self.ask_to_end("regenerate")
        self.may_be_out = self.may_have_ended = answer.status != 200
        if answer.status == 200 and json.loads(answer.body)["user"] is None:  # it starts another in a lost one's place
            self.signed_in = False
            self.diary.note_lost(written_at)

    def sign_out(self) -> None:
        self.signed_in = False
        self.ask_to_end("terminate")

    def ask_to_end(self, verb: str) -> Answer:
        """Make a request after which the cookies of before are worth nothing, if the store is queried for them."""
        before = CookieJar(self.visitor.cookies)
        answer = self.write(verb)
        if answer.status == 200 and (is_pointer(before) or self.mount == "/revocable"):
            self.diary.note_ended(self.mount, before)
        return answer

    def haunt(self) -> None:
        """Use the cookies of a session that has ended."""
        ended = self.diary.an_ended(self.mount, self.random)
        if ended:
            age = time.monotonic() - ended.at
            told = self.haunting(ended).try_to_read()
            if told:
                late = age > MOUNTS[self.mount]
                self.diary.note_ghost(ended, alive=told["user"] is not None, late=late)


class Sharing(Client):
    """One of several users of one session, which nobody ends."""

    VERBS = (("read", 1), ("increment", 2), ("append", 2))
    MAX_ITEMS = 100  # or their session would grow as long as they stay, and the workers with it

    def append(self) -> None:
        if len(self.visitor.items) < self.MAX_ITEMS:
            super().append()

    def read(self) -> None:
        told = self.visitor.try_to_read()
        if told is not None and told["n"] < self.visitor.increments.acknowledged:
            self.diary.note_wrong("an acknowledged increment is lost", example=f"{self.mount} {self.user}")


def is_lost(answer: Answer) -> bool:
    """Return whether a response says that the store has lost the session."""
    return answer.status == 503 and answer.body.startswith(LOST)


def is_pointer(cookies: CookieJar) -> bool:
    """Return whether a session's cookie says that it is in the store: by the flags, the third byte of its token."""
    return bool(urlsafe_b64decode(cookies["__Host-gaesess"][:4])[2] & POINTER)
