"""Run a person's Python file, and tell them where in it an error came from."""

from __future__ import annotations

import ast
import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

import tracin_core
from tracin_core.errors import ConfigurationError, TracInError

OURS = (Path(__file__).resolve().parents[2], Path(tracin_core.__file__).resolve().parent)
MODULE_NAME = "tracin_own_model"
# What a person's function may ask for, by name.
ASKED_FOR = ("classes", "num_classes", "kind", "task")
LONGEST_MESSAGE = 400  # characters of an error that are shown

# Modules that the latest file brought in from its own folder. They go before the next file is
# run: its neighbours may have the same names, or the same ones may have been edited.
_neighbours: set[str] = set()


def run_file(file: Path, source: bytes) -> ModuleType:
    """Run a file and return it as a module; its neighbours can be imported while it runs.

    Args:
        file: Its absolute path.
        source: Its content, which is what is run, so that what was checked is what runs.

    Raises:
        ConfigurationError: If it cannot be compiled, or raises.
    """
    for name in _neighbours:
        sys.modules.pop(name, None)
    _neighbours.clear()
    linecache.checkcache(str(file))
    module = ModuleType(MODULE_NAME)
    module.__file__ = str(file)
    sys.modules[MODULE_NAME] = module
    with prepend_import_folder(file.parent), explain_own_code_errors(file, f"Running {file.name}"):
        exec(compile(source, str(file), "exec"), module.__dict__)  # noqa: S102 - agreed to
    return module


def hash_neighbours() -> str:
    """Return a digest of the files that the latest file brought in from its own folder."""
    digest = hashlib.sha256()
    for name in sorted(_neighbours & set(sys.modules)):
        path = Path(str(sys.modules[name].__file__))
        digest.update(f"{name} {path}\n".encode())
        digest.update(path.read_bytes() if path.is_file() else b"gone")
    return digest.hexdigest()


@contextmanager
def prepend_import_folder(folder: Path) -> Iterator[None]:
    """Make imports find a folder's modules first, as for a program that is started there."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _neighbours.update(
            name for name in set(sys.modules) - before if _lies_in(sys.modules[name], folder)
        )


@contextmanager
def explain_own_code_errors(file: Path, doing: str, *, only_theirs: bool = False) -> Iterator[None]:
    """Turn what a person's code raises into a message with the line of their file.

    Args:
        file: Their file.
        doing: What was being done, the beginning of a sentence.
        only_theirs: Whether to leave what did not pass through their code, which may be a fault
            of the program.

    Raises:
        ConfigurationError: For any exception but the program's own and an interruption.
    """
    try:
        yield
    except TracInError:
        raise
    except (Exception, SystemExit) as error:
        if only_theirs and find_own_line(error, file) is None:
            raise
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = " Install what is missing, and import files beside yours at its top."
        raise ConfigurationError(
            f"{doing} raised {describe_error(error, file)}. Expected it to run through. Mend it, "
            f"try it in Python on its own, and start again.{hint}"
        ) from error


def explain_network_errors(file: Path | None, doing: str) -> AbstractContextManager[None]:
    """Return a context that explains what passes through a person's file, if it is theirs."""
    return nullcontext() if file is None else explain_own_code_errors(file, doing, only_theirs=True)


def describe_error(error: BaseException, file: Path) -> str:
    """Return an error's type and text, and the last line of the person's file on the way to it."""
    text = " ".join(str(error).split())[:LONGEST_MESSAGE]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{said} (line {error.lineno}: {(error.text or '').strip()[:120]})"
    frame = find_own_line(error, file)
    if frame is None:
        return said
    line = f": {frame.line[:120]}" if frame.line else ""
    return f"{said} ({Path(frame.filename).name}, line {frame.lineno}{line})"


def find_own_line(error: BaseException, file: Path) -> traceback.FrameSummary | None:
    """Return the last line of a person's file, else of those beside it, on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(file)]
    beside = [frame for frame in frames if _is_beside(Path(frame.filename), file.parent)]
    found = own or beside
    return found[-1] if found else None


def list_functions(source: bytes) -> list[str]:
    """Return the functions and classes that a file defines, without running it."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"]


def suggest_functions(source: bytes) -> list[str]:
    """Return what ``list_functions`` does, the likeliest to return the network first.

    Functions that ask for what they would not be given go last, then classes: most files define a
    network's parts and helpers before the function that puts them together.
    """
    names = list_functions(source)
    nodes = {getattr(node, "name", ""): node for node in ast.parse(source).body} if names else {}

    def rank(name: str) -> tuple[bool, bool, int]:
        node = nodes[name]
        given = not isinstance(node, ast.FunctionDef) or _asks_for_nothing_else(node.args)
        return not given, isinstance(node, ast.ClassDef), -names.index(name)

    return sorted(names, key=rank)


def _asks_for_nothing_else(arguments: ast.arguments) -> bool:
    """Return whether a function can be called with some of the arguments that it may ask for."""
    by_place = [*arguments.posonlyargs, *arguments.args]
    by_place = by_place[: len(by_place) - len(arguments.defaults)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    by_name = [argument for argument, default in pairs if default is None]
    return {argument.arg for argument in (*by_place, *by_name)} <= set(ASKED_FOR)


def _lies_in(module: ModuleType, folder: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return isinstance(origin, str) and _is_beside(Path(origin), folder)


def _is_beside(path: Path, folder: Path) -> bool:
    # A virtual environment often lies in the same folder, and this program may; neither is theirs.
    packages = {"site-packages", "dist-packages"} & set(path.parts)
    return (
        path.is_relative_to(folder)
        and not packages
        and not any(path.is_relative_to(ours) for ours in OURS)
    )
