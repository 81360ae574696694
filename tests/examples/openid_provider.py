"""A small OpenID provider: signs in whoever comes, and can be told to lie in its ID tokens."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from joserfc.util import urlsafe_b64encode

CLIENT_ID, CLIENT_SECRET = "an-id", "a-secret"
LIFETIME = 600  # seconds, of an ID token


class OpenIDProvider:
    """What it knows: its account, its key, and the sign-ins under way, by their codes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.claims: dict[str, Any] = {"sub": "1357", "name": "Ada"}
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.signing_key = self.key
        self._asked: dict[str, dict[str, str]] = {}

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def jwks(self) -> Any:
        return KeySet([self.key]).as_dict(private=False)

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where to send the browser, with a code."""
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._asked)}"
        self._asked[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, authorization: str, form: dict[str, str]) -> dict[str, Any]:
        """Return the tokens for a code, once."""
        assert b64decode(authorization.removeprefix("Basic ")).decode() == f"{CLIENT_ID}:{CLIENT_SECRET}"
        asked = self._asked.pop(form["code"])
        assert form["redirect_uri"] == asked["redirect_uri"]
        assert asked["code_challenge_method"] == "S256"
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).decode()
        assert challenge == asked["code_challenge"]
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + LIFETIME, "nonce": asked["nonce"]}
        id_token = jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.claims, self.signing_key)
        return {"access_token": "unused", "token_type": "Bearer", "id_token": id_token}


@contextmanager
def run_openid_provider() -> Iterator[OpenIDProvider]:
    """Serve one on a loopback port until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/.well-known/openid-configuration":
                self.answer(provider.metadata())
            elif url.path == "/jwks":
                self.answer(provider.jwks())
            elif url.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(dict(parse_qsl(url.query))))
                self.end_headers()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer(provider.token(self.headers["Authorization"], dict(parse_qsl(form))))

        def answer(self, told: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = OpenIDProvider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
