"""The files of a store: written whole or not at all, read, listed; faults with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from relabel.errors import StoreError
from relabel.stores.address import StoreAddress, redact
from tracin_core.files import atomic_file, translate_disk_errors

# A person waits: a store that does not answer is reported within about a minute.
_S3_OPTIONS = {
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"max_attempts": 3},
    }
}
# Whose errors are those of a store, beside the system's own.
_LIBRARIES = {"botocore", "aiobotocore", "s3fs", "gcsfs", "google", "aiohttp", "fsspec"}


class RemoteFolder:
    """A folder of a store.

    Args:
        address: Where it is; it need not exist yet.

    Raises:
        StoreError: From every method, if the store cannot be used.
    """

    def __init__(self, address: StoreAddress) -> None:
        self.address = address

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which is there whole or not at all, whenever the process is killed."""
        with self._explaining("written"):
            if self.address.scheme == "file":
                path = Path(self.address.path, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with translate_disk_errors(path.parent), atomic_file(path) as temporary:
                    temporary.write_bytes(content)
                return
            # One request, or an upload in pieces that its last request makes visible.
            self._files.pipe_file(self._locate(name), content)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        with self._explaining("read"):
            try:
                content: bytes = self._files.cat_file(self._locate(name))
            except FileNotFoundError:
                return None
            return content

    def list_sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file in the folder and below, by name."""
        root = self._locate("")
        with self._explaining("listed"):
            try:
                found: dict[str, dict[str, Any]] = self._files.find(root, detail=True)
            except FileNotFoundError:
                return {}
        return {
            self._files._strip_protocol(path)[len(root) :].lstrip("/"): int(entry["size"] or 0)
            for path, entry in found.items()
        }

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        paths = [self._locate(name) for name in names]
        if paths:
            with self._explaining("changed"):
                self._files.rm(paths)

    def _locate(self, name: str) -> str:
        root = str(self._files._strip_protocol(str(self.address))).rstrip("/")
        return f"{root}/{name}" if name else root

    @cached_property
    def _files(self) -> Any:
        """The file system of fsspec; nothing of it is kept from earlier listings."""
        import fsspec

        scheme, kind = self.address.scheme, self.address.kind
        options = _S3_OPTIONS if scheme == "s3" else {}
        try:
            return fsspec.filesystem(scheme, use_listings_cache=False, **options)
        except ImportError as error:
            raise StoreError(
                f"The store {self.address} needs the extra {kind.extra!r}, which is not installed. "
                f"Run `pip install 'tracin-relabel[{kind.extra}]'`."
            ) from error

    @contextmanager
    def _explaining(self, done: str) -> Iterator[None]:
        """Raise what a person can do; a library's own words are shown without credentials.

        The library's error is not kept behind it, because a log would print it as it is.
        """
        try:
            yield
        except StoreError:
            raise
        except PermissionError:
            raise StoreError(
                f"The store {self.address} may not be {done}: permission was refused. Expected "
                f"credentials from {self.address.kind.credentials}; ask whoever owns the store."
            ) from None
        except Exception as error:
            fault = self._describe(error, done)
            if fault is None:
                raise
            raise fault from None

    def _describe(self, error: Exception, done: str) -> StoreError | None:
        """Return the fault for people; None where the error is no fault of a store."""
        library = type(error).__module__.split(".")[0]
        if not isinstance(error, OSError) and library not in _LIBRARIES:
            return None
        told = redact(str(error).strip().split("\n")[0])[:200] or type(error).__name__
        if "redential" in type(error).__name__:
            return StoreError(
                f"Found no credentials for the store {self.address}; expected them from "
                f"{self.address.kind.credentials}."
            )
        if isinstance(error, FileNotFoundError):
            return StoreError(
                f"The store {self.address} could not be {done}: its bucket or folder does not "
                "exist. Mend the address, or make the bucket."
            )
        return StoreError(
            f"The store {self.address} could not be {done} ({told}). See that the network reaches "
            "it and that it has room, then start again; what is finished is kept."
        )
