"""Who looks at the app: a name that was typed, or a person who has signed in (OpenID Connect).

Where Streamlit's secrets have a section ``[auth]``, nobody sees anything before signing in, and
what is recorded carries the identity that the provider has confirmed. Streamlit keeps that in a
cookie that it has signed; our own routes, which Streamlit's `st.user` does not reach, read the same
cookie. Without the section a name is attribution, not authentication.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from streamlit.auth_util import (
    get_cookie_with_chunks,
    get_origin_from_redirect_uri,
    get_secrets_auth_section,
    is_authlib_installed,
)
from streamlit.web.server.server_util import AUTH_COOKIE_NAME, get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

from relabel.db.team.reviewers import LONGEST_NAME, Identity, make_name_key
from relabel.errors import InvalidDecisionError
from tracin_core.errors import ConfigurationError

REVIEWER_VARIABLE = "TRACIN_REVIEWER"


def preset_name() -> str:
    """Return the name that whoever started the server has set for everybody, or ""."""
    return os.environ.get(REVIEWER_VARIABLE, "").strip()


def identify(name: str) -> Identity:
    """Return who a typed name stands for; without one, whom the server was started for."""
    preset = Identity(preset_name(), "account")
    typed = Identity(name.strip())
    return preset if preset.key and typed.key in ("", preset.key) else typed


def find_sender(name: str, signed_in: Identity | None) -> Identity:
    """Return who sends a decision.

    Args:
        name: The name that the screen had when it was made.
        signed_in: Who has signed in by now; None where nobody has to.

    Raises:
        InvalidDecisionError: If it was somebody else than who has signed in by now.
    """
    if signed_in is None:
        return identify(name)
    if name and make_name_key(name) != signed_in.key:
        raise InvalidDecisionError(
            f"{name} pressed this, and {signed_in.name} is signed in now. Sign in as {name}, and "
            "decide again."
        )
    return signed_in


def needs_sign_in() -> bool:
    """Return whether people have to sign in.

    Raises:
        ConfigurationError: If they have to and cannot.
    """
    section = get_secrets_auth_section()
    if not section:
        return False
    if not is_authlib_installed():
        raise ConfigurationError(
            "The secrets have a section [auth], and the library for signing in is not installed. "
            "Run: pip install 'tracin-relabel[team]', or remove the section to go without."
        )
    return True


def read_claims(claims: Mapping[str, Any]) -> Identity | None:
    """Return whom a provider's claims name; None where they name nobody.

    An address that the provider has not verified could be anybody's; then the provider's own number
    of the account stands for the person.
    """
    email, number = claims.get("email"), claims.get("sub")
    is_verified = claims.get("email_verified") not in (False, "false")
    name = email if isinstance(email, str) and email.strip() and is_verified else number
    if not isinstance(name, str) or not name.strip():
        return None
    return Identity(name.strip()[:LONGEST_NAME], "oidc")


def read_signed_in(cookies: Mapping[str, str]) -> Identity | None:
    """Return who has signed in, by the cookie that Streamlit signed; None where nobody has.

    Args:
        cookies: Of the request.
    """
    secret = get_cookie_secret()

    def read(name: str) -> bytes | None:
        value = cookies.get(name)
        try:
            signed = None if value is None else value.encode("latin-1")
        except UnicodeEncodeError:
            return None
        return None if signed is None else decode_signed_value(secret, name, signed)

    content = get_cookie_with_chunks(read, AUTH_COOKIE_NAME)
    try:
        claims = json.loads(content or b"null")
    except ValueError:
        return None
    if not isinstance(claims, dict) or claims.get("is_logged_in") is not True:
        return None
    # A secret may be shared by servers of several addresses.
    return read_claims(claims) if claims.get("origin") == get_origin_from_redirect_uri() else None
