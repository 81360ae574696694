"""Google accounts by OpenID Connect, anywhere."""

import os

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, url_for
from joserfc.errors import JoseError
from pages import Account

PROVIDER = os.environ.get("OPENID_PROVIDER", "https://accounts.google.com")
EXPLANATION = """\
GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET have to be set in the environment.
Make an OAuth client of the type "Web application" at https://console.cloud.google.com/auth/clients,
with the authorized redirect URI http://localhost:8000/signed-in, and take both from there."""


class OpenID:
    """Asks by way of Authlib, which keeps state, nonce and PKCE verifier in the session until the answer comes."""

    def __init__(self, app: Flask) -> None:
        try:
            client_id, client_secret = os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"]
        except KeyError:
            raise SystemExit(EXPLANATION) from None
        self._provider = OAuth(app).register(
            "google",
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=f"{PROVIDER}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid profile", "code_challenge_method": "S256"},
        )

    def ask(self):
        return self._provider.authorize_redirect(url_for("signed_in", _external=True))

    def answer(self):
        try:
            claims = self._provider.authorize_access_token()["userinfo"]
        except (AuthlibBaseError, JoseError, KeyError):  # KeyError: the answer has no ID token
            return None
        return Account(claims["sub"], claims.get("name", "visitor"))

    def sign_out(self):
        return redirect(url_for("home"))
