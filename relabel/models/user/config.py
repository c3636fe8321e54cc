"""A person's own network: how it is named, and how a run remembers it.

Nothing here runs their code; ``load`` does, and only where they have agreed to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from relabel.text import Kind, Task
from tracin_core.errors import ConfigurationError
from tracin_core.files import check_ordinary, expand_path

# Whether a person has agreed to run their file: True to the file as it is, which holds for the
# moment only; or the SHA-256 of the content that they agreed to, which is what a job is given.
Consent = bool | str

LARGEST_FILE = 10_000_000  # bytes; a Python file beyond this is none


@dataclass(frozen=True, kw_only=True)
class OwnModelConfig:
    """Where a person's network comes from, and what it is for.

    Attributes:
        file: Absolute path of the Python file.
        function: Name of the function in it, or of a class.
        sha256: Digest of the file as it was; a file that has changed is not run.
        kind: What an example is.
        task: What is predicted of it.
        classes: The project's class names; empty for regression.
    """

    name: ClassVar[str] = "own"

    file: str
    function: str
    sha256: str
    kind: Kind
    task: Task = "classification"
    classes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return how messages name it."""
        return f"{Path(self.file).name}:{self.function}"

    @property
    def num_outputs(self) -> int:
        """Return how many numbers the network is to return for an example."""
        return 1 if self.task == "regression" else len(self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self), "classes": list(self.classes)}


def describe_own_model(
    reference: str, *, kind: Kind, task: Task = "classification", classes: tuple[str, ...] = ()
) -> OwnModelConfig:
    """Return the configuration of a network from ``file.py:function``, without running the file.

    Args:
        reference: The file and the function, with a colon between.
        kind: What the project's examples are.
        task: What is predicted of them.
        classes: The project's class names.

    Raises:
        ConfigurationError: If it is no such reference, or the file cannot be read.
    """
    file, function = read_reference(reference)
    return OwnModelConfig(
        file=str(file.resolve()),
        function=function,
        sha256=hash_source(read_source(file)),
        kind=kind,
        task=task,
        classes=classes,
    )


def is_reference(model: str) -> bool:
    """Return whether a name is ``file.py:function``, not that of a built-in network."""
    return ".py" in model or ":" in model or "/" in model


def read_reference(reference: str) -> tuple[Path, str]:
    """Return the file and the function's name.

    Raises:
        ConfigurationError: If one is missing or the name is none.
    """
    file, _, function = reference.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ConfigurationError(
            f"Found the model {reference!r}, expected a Python file and a function in it that "
            "returns the network, with a colon between. Write for example: "
            "--model my_model.py:build"
        )
    return expand_path(file), function


def read_source(file: Path) -> bytes:
    """Return a Python file's content.

    Raises:
        ConfigurationError: If it is missing, too large or cannot be read.
    """
    check_ordinary(file, "the Python file with the network", ConfigurationError)
    if not file.is_file():
        raise ConfigurationError(
            f"The model's file {file} does not exist; expected the Python file with the function "
            "that returns the network. Put it back, or name another with --model."
        )
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ConfigurationError(
                f"The model's file {file} has {file.stat().st_size / 1e6:.0f} MB; expected a "
                "Python file. Name the file with the code, not the one with the weights."
            )
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The model's file {file} cannot be read ({error.strerror}). Mend its permissions, "
            "or name another with --model."
        ) from error


def hash_source(source: bytes) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    return hashlib.sha256(source).hexdigest()


def needs_consent(model: object) -> bool:
    """Return whether a network can only be made by running a person's own code.

    Args:
        model: A configuration, the JSON of one, or what was given as ``--model``.
    """
    if isinstance(model, str):
        return is_reference(model)
    if isinstance(model, Mapping):
        return model.get("name") == OwnModelConfig.name
    return isinstance(model, OwnModelConfig)


def require_consent(model: object, *, agreed: Consent) -> None:
    """Check that running a person's own code has been agreed to, where that is needed.

    Args:
        model: As in ``needs_consent``.
        agreed: Whether it has, or the digest of the file that has.

    Raises:
        ConfigurationError: If not, or to another file; it names the option.
    """
    if agreed is True or not needs_consent(model):
        return
    if isinstance(model, str):
        title = model
        sha256 = hash_source(read_source(read_reference(model)[0])) if agreed else ""
    elif isinstance(model, Mapping):
        title, sha256 = f"{model.get('file')}:{model.get('function')}", str(model.get("sha256"))
    else:
        title, sha256 = str(getattr(model, "file", model)), str(getattr(model, "sha256", ""))
    if agreed == sha256:
        return
    if agreed:
        raise ConfigurationError(
            f"The network comes from {title} with the digest {sha256[:8]}; it was agreed to run "
            f"the digest {agreed[:8]}, so the file or the network is another one by now. Expected "
            "your consent to this one. Look at what has changed, then agree to it anew: start "
            "the work from its form and tick the box, or in the terminal with --run-my-code."
        )
    raise ConfigurationError(
        f"The network comes from {title}, which is a program: it can do on this machine whatever "
        "you can. Expected your consent to run it. If you trust the file, add --run-my-code, or "
        "tick the box on the page."
    )
