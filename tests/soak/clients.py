"""Users who do at random what users do, and know what they must see."""

from __future__ import annotations

import random
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence

from engines.processes import Http
from engines.visitor import Answer, Request, Visitor, complaints
from soak.diary import Diary
from wsgi.client import CookieJar

from gaesess._core import POINTER

THINKING_SECONDS = 0.02  # at most, between two requests
SMALL = (50, 300, 800)  # bytes: these sessions live in their cookie
LARGE = (100, 5_000, 20_000, 90_000)  # and these mostly do not


class Client(threading.Thread):
    """A user with a keep-alive connection, who signs in, and out, and in again until told to stop."""

    VERBS = (("read", 30), ("increment", 25), ("append", 20), ("resize", 12), ("regenerate", 5), ("sign_out", 3))

    def __init__(self, port: int, mount: str, user: str, sizes: Sequence[int], diary: Diary, seed: int) -> None:
        super().__init__(name=user)
        self.http = Http(port, mount)
        self.user = user
        self.sizes = sizes
        self.diary = diary
        self.random = random.Random(seed)
        self.done = threading.Event()
        self.items = 0
        self.signed_in = False
        self.visitor = self.new_visitor()

    def run(self) -> None:
        verbs, weights = zip(*self.VERBS, strict=True)
        while not self.done.wait(self.random.uniform(0, THINKING_SECONDS)):
            if self.signed_in:
                getattr(self, self.random.choices(verbs, weights)[0])()
            else:
                self.sign_in()

    def new_visitor(self, cookies: CookieJar | None = None) -> Visitor:
        return Visitor(self.send, self.user, cookies)

    def send(self, request: Request) -> Answer:
        began = time.monotonic()
        answer = self.http.send(request)
        self.diary.note_answer(answer.status, began)
        if answer.status not in (200, 503):
            self.diary.note_wrong(f"{request.path} was answered {answer.status}")
        return answer

    def sign_in(self) -> None:
        self.visitor = self.new_visitor()
        self.signed_in = self.visitor.ask("start", user=self.user, size=self.random.choice(self.sizes)).status == 200

    def read(self) -> None:
        told = self.visitor.try_to_read()
        if told is not None:
            self.signed_in = told["user"] is not None
            wrong = complaints([self.visitor], told) if self.signed_in else ["a user was signed out"]
            self.diary.note_wrong(*wrong)

    def increment(self) -> None:
        self.diary.note_write(self.visitor.increment().status)

    def append(self) -> None:
        self.items += 1
        self.diary.note_write(self.visitor.append(f"{self.user} {self.items}").status)

    def resize(self) -> None:
        self.visitor.ask("resize", size=self.random.choice(self.sizes))

    def regenerate(self) -> None:
        self.ask_to_end("regenerate")

    def sign_out(self) -> None:
        self.signed_in = False
        self.ask_to_end("terminate")

    def ask_to_end(self, verb: str) -> None:
        """Make a request after which the cookies of before are worth nothing, if they point into the store."""
        before = CookieJar(self.visitor.cookies)
        if self.visitor.ask(verb).status == 200 and is_pointer(before):
            self.diary.note_ended(before)


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
            self.diary.note_wrong("an acknowledged increment is lost")


def is_pointer(cookies: CookieJar) -> bool:
    """Return whether a session's cookie says that it is in the store: by the flags, the third byte of its token."""
    return bool(urlsafe_b64decode(cookies["__Host-gaesess"][:4])[2] & POINTER)
