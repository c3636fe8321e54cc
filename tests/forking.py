"""Programs in processes of their own that begin with the large libraries already imported.

An interpreter that imports torch, Lightning or transformers is busy with it for three to ten
seconds, mostly longer than with what it was started for. Here one process imports them, once, and
each program is a fork of it: with memory, folder and end of its own.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from pathlib import Path

# What the programs import; what is not installed is left out.
_LIBRARIES = (
    "pandas",
    "sklearn.datasets",
    "torchvision.datasets",
    "torchvision.transforms.v2",
    "pytorch_lightning",
    "tokenizers",
    "transformers.trainer",
    "transformers.models.bert.modeling_bert",
)
_CONTEXT = get_context("forkserver")


def start_forking() -> None:
    """Start the process that is forked, with this process's environment, if it is not there."""
    _CONTEXT.set_forkserver_preload(list(_LIBRARIES))
    forkserver.ensure_running()


def run_python(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Do what ``python WORDS`` does in a folder, where the words are a file or ``-m MODULE``.

    Returns:
        How it ended, and what it wrote to both streams.
    """
    outputs = (folder / "printed.txt", folder / "errors.txt")
    process = _CONTEXT.Process(target=_be_python, args=(list(words), folder, environment, outputs))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
    printed, errors = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
    return subprocess.CompletedProcess(list(words), process.exitcode or 0, printed, errors)


def _be_python(
    words: list[str], folder: Path, environment: Mapping[str, str], outputs: Sequence[Path]
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    for stream, output in zip((sys.stdout, sys.stderr), outputs, strict=True):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    sys.path.insert(0, str(folder))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
