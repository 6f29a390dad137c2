"""Answers that the code alone decides, kept on disk: who asks again need not import PyTorch for them.

They lie in ``answers/`` of the cache, in a folder for each state of the code: of every source file of the
package, of the encodings and of the tasks, of the interpreter and of the libraries. None is kept where
encodings or tasks come from elsewhere, whose code may be anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

from pebench import atomic
from pebench.data.cache import cache_folder, digest
from pebench.plugins.packages import version
from pebench.plugins.registry import encodings, tasks

Answer = TypeVar("Answer")

LIBRARIES = ("torch", "numpy", "pydantic", "timm", "torchvision", "datasets", "tokenizers", "lm-eval")
"""Their versions are part of the state of the code."""

_KEPT = 30 * 24 * 3600.0
"""Seconds for which the answers of another state of the code are kept."""


def remembered(kind: str, question: Any, answer: Callable[[], Answer]) -> Answer:
    """The answer to a question, from the disk if the same code has given it before.

    A process that had imported PyTorch before, or has encodings and tasks that are not pebench's own, always
    works it out. So does one whose cache cannot be read or written.

    Args:
        kind: of the question, apart from others.
        question: a JSON value that decides the answer together with the code.
        answer: works it out, as a JSON value; what it raises is not remembered.
    """
    if not _remembers() or not _is_closed():
        return answer()
    folder = cache_folder() / "answers" / code()
    path = folder / f"{kind}-{digest(question)}.json"
    with suppress(OSError, ValueError, KeyError):
        found: Answer = json.loads(path.read_bytes())["answer"]
        return found
    found = answer()
    with suppress(OSError, ValueError):
        if not folder.is_dir():
            _forget_old(folder.parent)
            folder.mkdir(parents=True, exist_ok=True)
        # In the order in which they are given, which is that of labels.
        atomic.write_text(path, json.dumps({"answer": found}, allow_nan=False))
    return found


@functools.cache
def code() -> str:
    """A digest of the code that answers: every source file, the interpreter and the libraries."""
    import pebench

    found = hashlib.sha256(sys.version.encode())
    for name in LIBRARIES:
        found.update(f"{name} {version(name)}\n".encode())
    package = Path(pebench.__file__).resolve().parent
    for folder in (package, *_folders()):
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{path}\n".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:32]


def _folders() -> list[Path]:
    import pebench.encodings
    import pebench.tasks

    return [Path(folder) for module in (pebench.encodings, pebench.tasks) for folder in module.__path__]


@functools.cache
def _remembers() -> bool:
    """Whether this process can do without PyTorch: asked before it answers its first question."""
    return "torch" not in sys.modules


def _is_closed() -> bool:
    """Whether every encoding and every task is pebench's own."""
    origins = [*encodings.origins().values(), *tasks.origins().values()]
    return all(origin.provider == "pebench" for origin in origins)


def _forget_old(answers: Path) -> None:
    """Removes the answers of code that has not been there for a while."""
    with suppress(OSError):
        for folder in answers.iterdir():
            if folder.stat().st_mtime < time.time() - _KEPT:
                rmtree(folder, ignore_errors=True)
