"""A provider of OpenID Connect for tests: one person, who agrees to everything at once.

It does what the standard asks of one, and no more: a document of its addresses, its public key, a
code for a browser that comes by, and a signed token for that code.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

CLIENT, SECRET = "the-app", "secret-of-the-client"


class Provider(ThreadingHTTPServer):
    """The provider, which listens on a free port.

    Attributes:
        claims: What it says of the person.
    """

    def __init__(self, claims: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        from joserfc.jwk import RSAKey

        self.claims = claims
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.nonces: dict[str, str] = {}

    @property
    def issuer(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def sign(self, nonce: str) -> str:
        """Return the token that says who has signed in."""
        from joserfc import jwt

        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": nonce}
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.claims, self.key)


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        """Answer a browser, or the app that asks for the addresses and the key."""
        issuer, asked = self.server.issuer, urlsplit(self.path)
        if asked.path == "/.well-known/openid-configuration":
            self._send(
                {
                    "issuer": issuer,
                    "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/keys",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif asked.path == "/keys":
            self._send({"keys": [self.server.key.as_dict(private=False)]})
        elif asked.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            code = uuid4().hex
            self.server.nonces[code] = query.get("nonce", "")
            back = urlencode({"code": code, "state": query["state"]})
            self.send_response(302)
            self.send_header("Location", f"{query['redirect_uri']}?{back}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Give a token for a code, to whoever knows the secret."""
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(sent).items()}
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        is_known = form.get("client_secret") == SECRET or basic in (
            self.headers["Authorization"] or ""
        )
        nonce = self.server.nonces.pop(form.get("code", ""), None)
        if nonce is None or not is_known:
            self.send_error(400)
            return
        token = self.server.sign(nonce)
        self._send({"access_token": uuid4().hex, "token_type": "Bearer", "id_token": token})

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def run_provider(claims: dict[str, Any]) -> Iterator[Provider]:
    """Run a provider beside the test."""
    provider = Provider(claims)
    thread = threading.Thread(target=provider.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()
