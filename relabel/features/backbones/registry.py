"""The table of backbones: frozen networks that make features of images and of texts.

A family registers itself, in one file of ``families``. A backbone is named after its family, and
where a family has several, after a colon as the family names them: ``torchvision:resnet18``.
Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol

from relabel.features.records import Content
from relabel.text import Kind
from tracin_core.errors import ConfigurationError
from tracin_core.files import expand_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AUTO = "auto"
# A person's choice of no frozen network at all.
NO_FEATURES = "none"
# Every file of this folder is imported, and registers what it holds.
_FOLDER = "relabel.features.backbones.families"


@dataclass(frozen=True, kw_only=True)
class BackboneRequest:
    """Which backbone is meant, and where its weights may come from.

    Attributes:
        name: Family, and member after a colon.
        weights: Local file in the place of the published weights.
        allow_download: Whether the weights may be fetched from where they are published.
    """

    name: str
    weights: str | None = None
    allow_download: bool = False

    @property
    def family(self) -> str:
        """Return the name of the family."""
        return self.name.partition(":")[0]

    @property
    def member(self) -> str:
        """Return what stands after the colon; empty where there is none."""
        return self.name.partition(":")[2]


@dataclass(frozen=True, kw_only=True)
class FoundBackbone:
    """A backbone whose weights are at hand.

    Attributes:
        request: What was asked for.
        files: What its weights, and what else decides its numbers, are read from.
    """

    request: BackboneRequest
    files: tuple[Path, ...]

    def hash(self) -> str:
        """Return the SHA-256 of its file; of several, that of theirs one after the other.

        Raises:
            ConfigurationError: If a file cannot be read.
        """
        digests = [_hash_file(path) for path in self.files]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


class Backbone(Protocol):
    """A backbone in memory."""

    @property
    def size(self) -> int:
        """Return pixels of the input's side, or most words that are read; 0 for all."""

    @property
    def dim(self) -> int:
        """Return how many features ``D`` an example gets."""

    def compute(self, contents: Sequence[Content]) -> npt.NDArray[np.float32]:
        """Return the features of some examples, shape ``(B, D)``.

        Raises:
            InputError: If a content cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class BackboneFamily:
    """One family of backbones.

    Attributes:
        name: Before the colon.
        title: How people call it.
        description: What it is good for and what it costs, in a sentence or two.
        kind: What an example is.
        find: Finds the weights, fetching them only where that is allowed; raises
            ``ConfigurationError`` with the way out where they are not at hand. Never imports
            torch without a member.
        load: Puts a found backbone into memory, or where that function is, as
            "module:function"; raises ``ConfigurationError`` where the weights do not fit.
        members: What stands after the colon, as people read it; empty where nothing may.
        takes_weights: Whether a local file can stand in the place of the published weights.
        look: Says in a few words what is at hand of several members, without torch; None where
            ``find`` says it.
        seconds: Cost of an example on one processor core, about.
        rank: Where "auto" looks for one, the highest first; 0 where it never takes it.
    """

    name: str
    title: str
    description: str
    kind: Kind
    find: Callable[[BackboneRequest], FoundBackbone]
    load: str | Callable[[FoundBackbone], Backbone]
    members: str = ""
    takes_weights: bool = True
    look: Callable[[], str] | None = None
    seconds: float = 0.01
    rank: int = 0

    @property
    def usage(self) -> str:
        """Return its name as it is typed; what may be left out stands in brackets."""
        if not self.members:
            return self.name
        return f"{self.name}[:{self.members}]" if self.rank else f"{self.name}:<{self.members}>"


_FAMILIES: dict[str, BackboneFamily] = {}


def register_backbones(family: BackboneFamily) -> None:
    """Register a family of backbones.

    Raises:
        ConfigurationError: If another file has registered a family of the name.
    """
    known = _FAMILIES.get(family.name)
    if known is not None and known.title != family.title:
        raise ConfigurationError(
            f"Found two families of backbones called {family.name!r}: {known.title} and "
            f"{family.title}. Give the second one another name."
        )
    _FAMILIES[family.name] = family


def list_backbones(kind: Kind | None = None) -> tuple[BackboneFamily, ...]:
    """Return the families by name, those that "auto" looks at before the others.

    Args:
        kind: Only those for such examples.
    """
    _load_families()
    found = [family for family in _FAMILIES.values() if kind in (None, family.kind)]
    return tuple(sorted(found, key=lambda family: (family.kind, -family.rank, family.name)))


def find_backbone(
    kind: Kind, name: str = AUTO, *, weights: str | None = None, allow_download: bool = False
) -> FoundBackbone:
    """Return a backbone whose weights are at hand.

    Args:
        kind: What an example is.
        name: As it is typed; "auto" takes the best one that is at hand and downloads nothing.
        weights: Local file in the place of the published weights.
        allow_download: Whether weights may be fetched from where they are published.

    Raises:
        ConfigurationError: If there is none of the name for such examples, or its weights are not
            at hand; the message says the way out.
    """
    if name == AUTO:
        return _choose(kind, weights)
    request = BackboneRequest(name=name, weights=weights, allow_download=allow_download)
    family = find_family(name)
    if family is None or family.kind != kind:
        known = ", ".join(each.usage for each in list_backbones(kind)) or "none"
        raise ConfigurationError(
            f"Found {name!r} as the backbone for examples of the kind {kind!r}, expected one of "
            f"these: {known}. Correct --features, or leave it out."
        )
    if weights is not None and not family.takes_weights:
        raise ConfigurationError(
            f"Found weights for {name}, which has its own. Leave out the weights, or choose "
            "another backbone with --features."
        )
    return family.find(request)


def describe_at_hand() -> dict[str, str]:
    """Return what is at hand of each family, or the way to it, by its name as it is typed."""
    told = {}
    for family in list_backbones():
        if family.look is not None:
            told[family.usage] = family.look()
            continue
        try:
            (first, *_) = family.find(BackboneRequest(name=family.name)).files
            told[family.usage] = f"at hand ({first.parent})"
        except ConfigurationError as error:
            told[family.usage] = str(error)
    return told


def describe_library(module: str, package: str) -> str:
    """Return whether a library is installed, and what installs it."""
    installed = find_spec(module) is not None
    return "installed" if installed else f"not installed (pip install {package})"


def find_family(name: str) -> BackboneFamily | None:
    """Return the family of a backbone's name, or ``None`` if there is none."""
    _load_families()
    return _FAMILIES.get(name.partition(":")[0])


def load_backbone(found: FoundBackbone) -> Backbone:
    """Put a backbone into memory. Imports torch.

    Raises:
        ConfigurationError: If its files are damaged or of another network.
    """
    family = find_family(found.request.name)
    if family is None:
        raise ConfigurationError(
            f"Found a backbone called {found.request.name!r}, which this version does not know. "
            "Update the program, or train again with another one."
        )
    load = family.load
    if isinstance(load, str):
        module, _, function = load.partition(":")
        load = getattr(import_module(module), function)
    loaded: Backbone = load(found)
    return loaded


def _choose(kind: Kind, weights: str | None) -> FoundBackbone:
    """Return the best backbone that is at hand without a network."""
    reasons = []
    for family in list_backbones(kind):
        if not family.rank or (weights is not None and not family.takes_weights):
            continue
        try:
            return family.find(BackboneRequest(name=family.name, weights=weights))
        except ConfigurationError as error:
            reasons.append(str(error))
    told = " ".join(reasons) or "there is none for them."
    raise ConfigurationError(
        f"No backbone for examples of the kind {kind!r} is at hand: {told} Or choose one of "
        f"{', '.join(each.usage for each in list_backbones(kind)) or 'another model'}."
    )


def resolve_member(name: str) -> str:
    """Return a backbone's name with a path after the colon made absolute, if one is there."""
    family, colon, member = name.partition(":")
    if not colon or not member:
        return name
    path = expand_path(member)
    return f"{family}:{path.resolve()}" if path.exists() else name


@cache
def _load_families() -> None:
    """Import every file that registers backbones."""
    folder = import_module(_FOLDER)
    for module in sorted(each.name for each in iter_modules(folder.__path__)):
        import_module(f"{_FOLDER}.{module}")


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"The weights {path} cannot be read ({error.strerror}); expected a local file. "
            "Correct the path, or put the file back."
        ) from error


def find_local_file(weights: str) -> Path:
    """Return a local file with weights that a person named.

    Raises:
        ConfigurationError: If there is no such file.
    """
    path = Path(weights)
    if not path.is_file():
        raise ConfigurationError(
            f"The weights {path} cannot be read (there is no such file); expected a local file. "
            "Correct the path, or put the file back."
        )
    return path


def read_state(path: Path, expected: str) -> dict[str, Any]:
    """Read a state dict, from ``torch.save`` or safetensors, without running code. Imports torch.

    Args:
        path: The file.
        expected: What it should be of, for the message.

    Raises:
        ConfigurationError: If it is damaged, or would have to be unpickled.
    """
    from tracin_core.checkpoints.formats import find_state, read_content
    from tracin_core.errors import CheckpointError

    try:
        return find_state(read_content(path), f"The weights {path}")
    except CheckpointError as error:
        raise ConfigurationError(
            f"The weights in {path} cannot be read safely ({str(error).splitlines()[0][:300]}); "
            f"expected a state dict of {expected}. Download or save the file again."
        ) from error


def require(module: str, purpose: str, package: str) -> Any:
    """Import a library that need not be installed.

    Args:
        module: Name that is imported.
        purpose: What it does here, as in "reads these weights".
        package: What is installed to have it.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"The library that {purpose} is not installed ({error}). "
            f"Install it: pip install {package}"
        ) from error
