"""Read what strangers made in a process of its own: whatever it does, the server goes on.

The process gets its question as JSON and answers in JSON, so nothing of what it read is ever
unpickled here. It may take a bounded amount of memory; one that a damaged file crashes, in a
decoder written in C, is told like any other damaged file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from tracin_core import errors
from tracin_core.config import REPOSITORY_ROOT
from tracin_core.errors import InputError, TracInError
from tracin_core.work.memory import (
    memory_bound,
    memory_bounded,
    resident_bytes,
    too_much_memory,
)

# Seconds between two looks at the memory: at a gigabyte a second that is a tenth of the bound.
_LOOK_EVERY = 0.1
# The process holds the libraries beside what it reads.
_LIBRARIES = 512 * 2**20  # bytes
Task = Callable[[Mapping[str, Any]], Any]


PROGRAM = (sys.executable, "-P", "-m", "tracin_core.work.apart")


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
    kind = getattr(errors, str(answer["error"]), None)
    known = isinstance(kind, type) and issubclass(kind, TracInError)
    raise (kind if known else InputError)(answer["message"])  # type: ignore[misc]


def _find(task: str) -> Task:
    module, _, name = task.partition(":")
    if not module.startswith("tracin_core."):
        raise ValueError(f"no task of this program: {task}")
    found: Task = getattr(import_module(module), name)
    return found


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with memory_bounded(question["what"], question["bound"]):
            return {"answer": _find(question["task"])(question["request"])}
    except TracInError as error:
        kind = next(c for c in type(error).__mro__ if c.__module__ == errors.__name__)
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
