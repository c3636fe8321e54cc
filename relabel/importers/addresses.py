"""Data sets by their public names: fetched once into the user's own folder, then read from there.

``hf://datasets/NAME`` is loaded by the library ``datasets``, whose versions from 4 on run no
program that comes with a data set. ``torchvision://NAME`` is downloaded by torchvision, which knows
the digests of its files. What was fetched whole is used again, without a network.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from relabel.archives import make_plain_name
from relabel.importers.options import ImportOptions
from relabel.workspace import Workspace
from tracin_core.errors import InputError

FOLDER = "downloads"
# A path loses one of two slashes.
_ADDRESS = re.compile(r"(?P<scheme>hf|torchvision):/{1,3}(?P<rest>.+)", re.DOTALL)
_HUB = re.compile(
    r"datasets/(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>[^?]+))?(\?(?P<query>.*))?", re.DOTALL
)
_QUERY = ("config", "split")
_FIRST_WITHOUT_PROGRAMS = 4  # version of `datasets`
_EXPECTED = (
    "Expected hf://datasets/NAME, such as hf://datasets/stanfordnlp/imdb, also with "
    "@REVISION and ?config=NAME&split=train,test behind it, or torchvision://NAME, such as "
    "torchvision://CIFAR10."
)


@dataclass(frozen=True)
class HubAddress:
    """A data set of the Hugging Face hub.

    Attributes:
        name: With its owner, where it has one.
        revision: Branch, tag or commit; None for the newest.
        config: One of its configurations; None where it has one.
        splits: Those that are wanted; none for all.
    """

    name: str
    revision: str | None = None
    config: str | None = None
    splits: tuple[str, ...] = ()


def is_address(path: Path | str) -> bool:
    """Return whether a path is the name of a public data set rather than a place on a disk."""
    return _ADDRESS.fullmatch(str(path)) is not None


def fetch_named(
    path: Path, options: ImportOptions, workspace: Workspace, tell: Callable[[str], None]
) -> tuple[Path, ImportOptions]:
    """Fetch a data set that is named by an address; any other path is returned as it is.

    Args:
        path: As the person says it.
        options: Of the import.
        workspace: Has the folder for what is fetched.
        tell: Is given what is fetched to where, in a sentence.

    Returns:
        The folder to import, and the options with what the address says.

    Raises:
        InputError: If there is no such data set, it cannot be fetched, or a library is missing.
    """
    if not is_address(path):
        return path, options
    found = _ADDRESS.fullmatch(str(path))
    scheme, rest = (found["scheme"], found["rest"]) if found else ("", "")
    folder = workspace.root / FOLDER
    if scheme == "torchvision":
        name = _find_set(rest, options)
        place = folder / "torchvision" / name
        _fetch(place, lambda target: _download_set(name, target), tell, _check_torchvision)
        return place, replace(options, dataset=name)
    address = read_hub_address(rest)
    words = [address.name, address.revision, address.config, *address.splits]
    place = folder / "hub" / make_plain_name("-".join(filter(None, words)).replace("/", "-"))
    _fetch(
        place,
        lambda target: _load_from_hub(address, target),
        tell,
        lambda: _check_hub_library(address),
    )
    return place, options


def refuse_address(path: Path) -> InputError:
    """Return the error for an address where only places on a disk can be opened."""
    address = _ADDRESS.sub(r"\g<scheme>://\g<rest>", str(path))
    return InputError(
        f"{address} is the name of a public data set, expected a file or folder on this machine. "
        "The command line fetches it and imports it: relabel import NAME ADDRESS."
    )


def read_hub_address(rest: str) -> HubAddress:
    """Read what stands behind ``hf://``.

    Raises:
        InputError: If it names no data set.
    """
    found = _HUB.fullmatch(rest)
    query = dict(parse_qsl(found["query"] or "", keep_blank_values=True)) if found else {}
    if found is None or not query.keys() <= set(_QUERY):
        raise InputError(f"hf://{rest[:200]} names no data set. {_EXPECTED}")
    splits = tuple(filter(None, query.get("split", "").split(",")))
    revision = unquote(found["revision"]) if found["revision"] else None
    return HubAddress(found["name"], revision, query.get("config") or None, splits)


def _fetch(
    place: Path,
    fetch: Callable[[Path], None],
    tell: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    """Fetch into a folder that is there whole or not at all, once what is needed is there."""
    if place.is_dir():
        tell(f"Fetched before, and used again: {place}. Remove the folder to fetch it anew.")
        return
    check()
    tell(f"Fetching into {place} ...")
    beside = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch(beside)
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _find_set(name: str, options: ImportOptions) -> str:
    from relabel.importers.readers.torchvision import SETS, find_known_name

    known = find_known_name(name.strip("/"))
    if known is None or (options.dataset or known) != known:
        raise InputError(
            f"torchvision://{name[:200]} is no data set that can be fetched. Expected one of: "
            f"{', '.join(SETS)}; --dataset need not be said."
        )
    return known


def _check_torchvision() -> None:
    if find_spec("torchvision") is None:
        raise InputError(
            "torchvision:// is fetched by the library `torchvision`, which is not installed. "
            "Install it: pip install torchvision. Or fetch the data set where it is installed, "
            "and import its folder."
        )


def _download_set(name: str, folder: Path) -> None:
    from torchvision import datasets

    from relabel.importers.readers.torchvision import SETS

    family = getattr(datasets, name.split("-")[0])
    try:
        for said in SETS[name].splits.values():
            family(str(folder), download=True, **said)
    # No network, no such file, another digest: each server and reader fails in its own way.
    except Exception as error:
        raise _not_fetched(
            f"torchvision://{name}",
            error,
            f"torchvision.datasets.{name.split('-')[0]}(folder, download=True)",
        ) from error


def _check_hub_library(address: HubAddress) -> None:
    """Check that the library is there, new enough, and would take the address for one.

    Raises:
        InputError: If not.
    """
    if find_spec("datasets") is None:
        raise InputError(
            f"hf://datasets/{address.name} is fetched by the library `datasets`, which is not "
            "installed. Install it: pip install 'tracin-relabel[hub]'. Or download the Parquet "
            "files that the hub has of it, and import their folder."
        )
    if Path(address.name).exists():
        raise InputError(
            f"{address.name} is also a file or folder where this was started, which the library "
            "would take. Expected the name of a data set alone. Start it in another folder, or "
            "import that one by its path."
        )
    import datasets

    if int(datasets.__version__.split(".")[0]) < _FIRST_WITHOUT_PROGRAMS:
        raise InputError(
            f"Found `datasets` {datasets.__version__}, which may run programs that come with a "
            f"data set. Expected version {_FIRST_WITHOUT_PROGRAMS} or newer: pip install -U "
            "datasets."
        )


def _load_from_hub(address: HubAddress, folder: Path) -> None:
    import datasets

    def load(split: str | None) -> Any:
        return datasets.load_dataset(
            address.name, address.config, split=split, revision=address.revision
        )

    try:
        if address.splits:
            parts = {split.partition("[")[0]: load(split) for split in address.splits}
            datasets.DatasetDict(parts).save_to_disk(str(folder))
        else:
            load(None).save_to_disk(str(folder))
    # The library, and those it calls, fail in a great many ways where there is no network.
    except Exception as error:
        said = ", ".join(repr(one) for one in (address.name, address.config) if one)
        raise _not_fetched(
            f"hf://datasets/{address.name}",
            error,
            f"datasets.load_dataset({said}).save_to_disk(folder)",
        ) from error


def _not_fetched(address: str, error: Exception, call: str) -> InputError:
    told = " ".join(str(error).split())[:300]
    return InputError(
        f"{address} could not be fetched ({told}). Expected a data set "
        "of this name, and a network. Correct the address or try again; or fetch it where there is "
        f"a network, {call}, and import that folder."
    )
