"""The pages, whoever says which Google account the visitor has."""

import secrets
from typing import NamedTuple, Protocol

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response


class Account(NamedTuple):
    """A Google account. The id never changes and is never given to anybody else: keep a user's data under that."""

    id: str
    name: str


class Accounts(Protocol):
    """Who says which account the visitor has."""

    def ask(self) -> Response:
        """Send the visitor to Google, which sends them on to the page "signed_in"."""

    def answer(self) -> Account | None:
        """Return the account of a visitor who comes to that page, None if Google does not confirm it."""

    def sign_out(self) -> Response:
        """Send the visitor to the page "home", by way of Google if it has to hear of it."""


def add_pages(app: Flask, accounts: Accounts) -> None:
    @app.get("/")
    def home():
        session["views"] = session.get("views", 0) + 1
        session.setdefault("csrf_token", secrets.token_urlsafe())
        return render_template("page.html"), {"Cache-Control": "no-store"}

    @app.get("/sign-in")
    def sign_in():
        return accounts.ask()

    @app.get("/signed-in")
    def signed_in():
        account = accounts.answer()
        if account is None:
            flash("Google did not confirm your account. Please try again.")
        else:
            session.regenerate_id()  # whoever knows the id or the token from before has nothing of them now
            session.pop("csrf_token", None)
            session["account"] = account._asdict()
            flash(f"Welcome, {account.name}.")
        return redirect(url_for("home"))

    @app.post("/sign-out")
    def sign_out():
        expected, sent = session.get("csrf_token"), request.form.get("csrf_token", "")
        if expected is None or not secrets.compare_digest(expected.encode(), sent.encode()):
            abort(403)
        session.terminate()
        flash("You have signed out.")
        return accounts.sign_out()
