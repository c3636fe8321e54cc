"""Who has signed in is known to our own routes too, and nobody else gets an answer from them.

`tests.browser.test_sign_in` signs in at a real provider; here the cookie is made as Streamlit makes
it, by Streamlit's own function and the secret of a real file of secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit import config
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from relabel.db.team.reviewers import Identity
from relabel.errors import InvalidDecisionError
from tracin_core.errors import ConfigurationError
from ui.identity import find_sender, identify, needs_sign_in, read_claims, read_signed_in
from ui.review.routes import REVIEW_ROUTES
from ui.server.pictures import ROUTES

COOKIE, SECRET, HOME = "_streamlit_user", "a secret of thirty-two characters", "http://localhost"
SECRETS = f"""
[auth]
redirect_uri = "{HOME}/oauth2callback"
cookie_secret = "{SECRET}"
client_id = "the-app"
client_secret = "x"
server_metadata_url = "http://127.0.0.1:1/.well-known/openid-configuration"
"""
ANN = {"is_logged_in": True, "origin": HOME, "email": "ann@example.org", "sub": "17"}


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file of secrets that asks for sign-in; the library for it may be missing here."""
    (tmp_path / "secrets.toml").write_text(SECRETS, encoding="utf-8")
    before = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    secrets_singleton._reset()
    monkeypatch.setattr("ui.identity.is_authlib_installed", lambda: True)
    yield
    config.set_option("secrets.files", before)
    secrets_singleton._reset()


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[*REVIEW_ROUTES, *ROUTES]), base_url=HOME)


def sign(claims: dict[str, object], secret: str = SECRET) -> dict[str, str]:
    return {COOKIE: create_signed_value(secret, COOKIE, json.dumps(claims)).decode()}


def test_without_a_section_nobody_signs_in_and_names_are_typed(monkeypatch):
    assert not needs_sign_in()
    monkeypatch.delenv("TRACIN_REVIEWER", raising=False)
    assert identify(" Ann ") == Identity("Ann", "typed")
    assert identify("").key == ""
    monkeypatch.setenv("TRACIN_REVIEWER", "Tester")
    assert identify("") == identify("TESTER") == Identity("Tester", "account")
    assert identify("Ann") == Identity("Ann", "typed")


def test_a_signed_cookie_says_who_it_is(configured):
    assert needs_sign_in()
    assert read_signed_in(sign(ANN)) == Identity("ann@example.org", "oidc")


@pytest.mark.parametrize(
    "cookies",
    [
        {},
        {COOKIE: "ann@example.org"},
        {COOKIE: "\u20ac"},
        sign(ANN, "another secret of thirty-two characters"),
        sign(ANN | {"is_logged_in": False}),
        sign(ANN | {"is_logged_in": "yes"}),
        sign(ANN | {"origin": "http://elsewhere"}),
        sign({"is_logged_in": True, "origin": HOME}),
        {COOKIE: create_signed_value(SECRET, "other", json.dumps(ANN)).decode()},
        {COOKIE: create_signed_value(SECRET, COOKIE, "no JSON").decode()},
    ],
)
def test_any_other_cookie_is_nobodys(configured, cookies):
    assert read_signed_in(cookies) is None


def test_an_address_that_nobody_has_verified_is_not_a_name():
    assert read_claims(ANN | {"email_verified": False}) == Identity("17", "oidc")
    assert read_claims(ANN | {"email_verified": True}) == Identity("ann@example.org", "oidc")
    assert read_claims({"email": " ", "sub": None}) is None


def test_who_has_not_signed_in_gets_no_answer(configured, client):
    for path in ("/suspects", "/decisions", "/leases"):
        answer = client.post(path, json={"project": "digits", "reviewer": "ann@example.org"})
        assert (answer.status_code, "Sign in first" in answer.text) == (401, True)
    for path in ("/thumb/1", "/picture/1"):
        assert client.get(path).status_code == 401


def test_a_body_cannot_say_who_asks(configured):
    ann = Identity("ann@example.org", "oidc")
    for name in ("", "ANN@example.org"):
        assert find_sender(name, ann) == ann
    with pytest.raises(InvalidDecisionError, match=r"Bob pressed this, and ann@example\.org is"):
        find_sender("Bob", ann)


def test_a_library_that_is_missing_is_named(configured, monkeypatch):
    monkeypatch.setattr("ui.identity.is_authlib_installed", lambda: False)
    with pytest.raises(ConfigurationError, match=r"pip install 'tracin-relabel\[team\]'"):
        needs_sign_in()
