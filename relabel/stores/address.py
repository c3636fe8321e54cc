"""The address of a store: which kinds there are, and that none carries or shows credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from relabel.errors import StoreError
from tracin_core.files import expand_path


@dataclass(frozen=True)
class StoreKind:
    """A kind of store.

    Attributes:
        extra: Extra of this program that it needs; "" for none.
        lasts: Whether what is written there outlives the process that wrote it.
        credentials: Where its library finds them, for people.
    """

    extra: str = ""
    lasts: bool = True
    credentials: str = "the permissions of the folder"


_GOOGLE = StoreKind(
    "gcs",
    credentials="`gcloud auth application-default login`, GOOGLE_APPLICATION_CREDENTIALS or the "
    "machine's service account",
)
# By the scheme of the address.
STORE_KINDS = {
    "s3": StoreKind(
        "s3",
        credentials="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws or the "
        "machine's role",
    ),
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "file": StoreKind(),
    "memory": StoreKind(lasts=False),
}
_EXPECTED = "Expected s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or the path of a folder"
_USER = re.compile(r"(?<=://)[^/\s@]*:?[^/\s@]*@")
_QUERY = re.compile(r"\?[^\s'\"]*")
_SECRET = re.compile(
    r"((?:secret|token|password|signature|credential|access_?key(?:_?id)?)[\w-]*[\"']?\s*[=:]\s*)"
    r"[\"']?[^\s\"',;&]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text without what may be credentials: users, queries and named secrets."""
    return _SECRET.sub(r"\1***", _QUERY.sub("?***", _USER.sub("***@", text)))


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is; it holds no credentials, so it may be kept and shown.

    Attributes:
        scheme: Key of ``STORE_KINDS``.
        path: What follows ``://``, without a slash at its end.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def kind(self) -> StoreKind:
        """What is to be known of its kind."""
        return STORE_KINDS[self.scheme]

    def below(self, *names: str) -> StoreAddress:
        """Return the address of a folder in it."""
        return StoreAddress(self.scheme, "/".join((self.path.rstrip("/"), *names)))


def parse_address(text: str) -> StoreAddress:
    """Return the address that a person typed.

    Raises:
        StoreError: If it is none, of an unknown kind, or carries credentials.
        InputError: If no folder can have that name.
    """
    said = text.strip()
    if "://" not in said:
        if not said:
            raise StoreError(f"Found no address of a store. {_EXPECTED}.")
        return StoreAddress("file", str(expand_path(said).resolve()))
    try:
        parts = urlsplit(said)
    except ValueError as error:
        raise StoreError(f"{redact(said)!r:.200} is no address. {_EXPECTED}.") from error
    kind = STORE_KINDS.get(parts.scheme)
    if kind is None or "::" in said:
        raise StoreError(f"Found a store {redact(said)!r:.200} of no known kind. {_EXPECTED}.")
    if parts.username is not None or parts.query or parts.fragment:
        raise StoreError(
            f"The address {redact(said):.200} carries a user, a query or a fragment; expected "
            "none, as an address is kept and shown, and credentials never are. Leave them out: "
            f"they are found by {kind.credentials}."
        )
    path = (parts.netloc + parts.path).rstrip("/")
    if not path or (parts.scheme == "file" and not Path(path).is_absolute()):
        raise StoreError(f"The address {said:.200} names no folder. {_EXPECTED}.")
    return StoreAddress(parts.scheme, path)


def parse_lasting_address(text: str) -> StoreAddress:
    """Return the address that a person typed, of a store where files stay.

    Raises:
        StoreError: As for ``parse_address``, or if the store is gone when this process ends.
        InputError: If no folder can have that name.
    """
    address = parse_address(text)
    if not address.kind.lasts:
        raise StoreError(
            f"Found the store {address!s:.200}, which is gone when this command ends, with all "
            f"that it was given. {_EXPECTED}."
        )
    return address
