"""Run the reading of untrusted data in a subprocess with a bound on its memory.

The process gets its question as JSON and answers in JSON, so nothing of what it read is ever
unpickled here. A damaged file that crashes it, in a decoder written in C, becomes an error like
any other damaged file.

Two bounds on memory, because neither holds alone. On Linux the process is given a limit that the
system itself keeps: an allocation beyond it fails at once, as ``MemoryError``. macOS takes such a
limit and does not keep it, so whoever started the process also watches it (``run_apart``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from relabel import errors as application_errors
from relabel.workspace import REPOSITORY_ROOT
from tracin_core import errors as engine_errors
from tracin_core.errors import ConfigurationError, InputError, TracInError

MEMORY_VARIABLE = "TRACIN_IMPORT_MEMORY"
# Bytes: sixteen pictures of 50 million pixels wait, four are decoded, a million keys are kept.
DEFAULT_BOUND = 4 * 2**30
_LEAST = 256 * 2**20  # bytes; less does not load the libraries
_LINUX = sys.platform.startswith("linux")
# Seconds between two looks at the memory: at a gigabyte a second that is a tenth of the bound.
_LOOK_EVERY = 0.1
# The process holds the libraries beside what it reads.
_LIBRARIES = 512 * 2**20  # bytes
Task = Callable[[Mapping[str, Any]], Any]
PROGRAM = (sys.executable, "-P", "-m", "relabel.sandbox")
_ERRORS = (engine_errors, application_errors)


def memory_bound() -> int:
    """Return how many bytes the reading of data may take: 4 GB, or half of the machine's memory.

    Raises:
        ConfigurationError: If the environment says otherwise in something that is no number.
    """
    said = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not said:
        return min(DEFAULT_BOUND, max(_physical_memory() // 2, _LEAST))
    try:
        bound = float(said) * 2**30
        if not _LEAST <= bound < 2**50:
            raise ValueError(said)
        return int(bound)
    except ValueError as error:
        raise ConfigurationError(
            f"Found {MEMORY_VARIABLE}={said!r}. Expected gigabytes as a number of at least "
            f"{_LEAST / 2**30:g}, for example 8. Correct it, or leave it out."
        ) from error


def too_much_memory(what: str, bound: int) -> InputError:
    """Return the error for data whose reading needs more than the bound.

    Args:
        what: The file or folder.
        bound: In bytes.
    """
    return InputError(
        f"{what} needs more than {bound / 2**30:.2g} GB of memory to be read. Expected less: a "
        "small file that needs so much is damaged or made to do harm. If it is sound, split it, "
        f"or allow more, in GB, with {MEMORY_VARIABLE}={2 * max(1, bound // 2**30)}."
    )


@contextmanager
def limit_memory(what: str, bound: int | None = None) -> Iterator[None]:
    """Limit what the block may take beyond the memory in use now, where the system can do it.

    Args:
        what: The file or folder that is read, for the message.
        bound: In bytes; by default ``memory_bound()``.

    Raises:
        InputError: If the block needs more.
    """
    allowed = memory_bound() if bound is None else bound
    with _limit_data_segment(allowed):
        try:
            yield
        except MemoryError as error:
            raise too_much_memory(what, allowed) from error


@contextmanager
def _limit_data_segment(bytes_more: int) -> Iterator[None]:
    if not _LINUX:
        yield
        return
    import resource

    # What a process makes for itself; files that it maps to read them do not count.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _own_data() + bytes_more
    if resource.RLIM_INFINITY not in (soft,):
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _own_data() -> int:
    """Return what counts towards the limit already, in bytes."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds, in bytes; 0 where that cannot be told."""
    try:
        if _LINUX:
            pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        command = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return int(told.stdout.strip() or 0) * 1024
    except (OSError, ValueError, IndexError):
        return 0  # it has ended, or the system does not say


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 * DEFAULT_BOUND


def run_apart(
    task: str,
    request: Mapping[str, Any],
    *,
    what: str,
    bound: int | None = None,
    program: Sequence[str] = PROGRAM,
) -> Any:
    """Run a function of this program in a process of its own and return what it answers.

    Args:
        task: "module:function" below ``tracin_core``; takes the request, returns plain JSON.
        request: Plain JSON.
        what: The file or folder that is read, for messages.
        bound: Bytes of memory; by default ``memory_bound()``.
        program: The command line of this module.

    Raises:
        TracInError: What the function raised, of the same class.
        InputError: If it needs more memory than it may have, or the process was ended by it.
        RuntimeError: For a bug in the function, with its trace.
    """
    allowed = memory_bound() if bound is None else bound
    question = json.dumps({"task": task, "request": request, "what": what, "bound": allowed})
    # The folder that this process works in stays the same, and no module is looked for there.
    places = os.pathsep.join(filter(None, (str(REPOSITORY_ROOT), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(  # noqa: S603 - our own program
        list(program),
        env=os.environ | {"PYTHONPATH": places},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            answer = _wait(process, question.encode(), allowed + _LIBRARIES)
        finally:
            process.kill()  # which does nothing to one that has ended
    if answer is None:
        raise too_much_memory(what, allowed)
    if process.returncode:
        raise _ended(what, process.returncode)
    return _unwrap(json.loads(answer))


def _wait(process: subprocess.Popen[bytes], question: bytes, most: int) -> bytes | None:
    """Return the answer, or None if the process takes too much memory."""
    waiting: bytes | None = question
    while True:
        try:
            return process.communicate(waiting, timeout=_LOOK_EVERY)[0]
        except subprocess.TimeoutExpired:
            waiting = None
            if resident_bytes(process.pid) > most:
                return None


def _ended(what: str, code: int) -> InputError:
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return InputError(
        f"{what} ended the process that read it ({name}). Expected a whole file: it is damaged, "
        "or made to do harm, or the machine's memory ran out. Write or download it again."
    )


def _unwrap(answer: Mapping[str, Any]) -> Any:
    if "answer" in answer:
        return answer["answer"]
    if "bug" in answer:
        raise RuntimeError(f"A process that read data failed:\n{answer['bug']}")
    kind = next((vars(m)[answer["error"]] for m in _ERRORS if answer["error"] in vars(m)), None)
    known = isinstance(kind, type) and issubclass(kind, TracInError)
    raise (kind if known else InputError)(answer["message"])  # type: ignore[misc]


def _find(task: str) -> Task:
    module, _, name = task.partition(":")
    if not module.startswith("relabel."):
        raise ValueError(f"no task of this program: {task}")
    found: Task = getattr(import_module(module), name)
    return found


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with limit_memory(question["what"], question["bound"]):
            return {"answer": _find(question["task"])(question["request"])}
    except TracInError as error:
        kind = next(
            c
            for c in type(error).__mro__
            if c.__module__ in {module.__name__ for module in _ERRORS}
        )
        return {"error": kind.__name__, "message": str(error)}
    except Exception:
        return {"bug": traceback.format_exc()}


def main() -> None:
    """Answer the one question on the standard input."""
    import resource

    # A dump of a crashed process would fill the disk with what it was reading.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # What libraries print must not stand in the answer.
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer = json.dumps(_answer(json.load(sys.stdin))).encode()
    with os.fdopen(out, "wb") as file:
        file.write(answer)


if __name__ == "__main__":
    main()
