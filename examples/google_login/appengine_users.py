"""Google accounts by App Engine's own users service."""

from flask import redirect, url_for
from google.appengine.api import users
from pages import Account


class AppEngineUsers:
    def ask(self):
        return redirect(users.create_login_url(url_for("signed_in")))

    def answer(self):
        user = users.get_current_user()
        return Account(user.user_id(), user.nickname()) if user else None

    def sign_out(self):
        return redirect(users.create_logout_url(url_for("home")))
