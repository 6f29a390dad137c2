"""The documentation inside every Python: real English that needs no download."""

from __future__ import annotations

import ast
import json
import os
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebench import atomic
from pebench.data.cache import Entry, digest, entry
from pebench.data.splits import by_hash
from pebench.errors import UserError

_FORMAT = 1
_SKIPPED = {
    "__pycache__",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
}


@dataclass(frozen=True)
class PythonDocs:
    """One split of the language reference's help topics and the docstrings of the standard library.

    A topic is a document, and so are the docstrings of a module, read from its source. What there is depends
    on the version of the interpreter, and so does the fingerprint.
    """

    split: str

    def fingerprint(self) -> str:
        """Names the version of Python and stands for the content."""
        fingerprint: str = _gathered().metadata["fingerprints"][self.split]
        return fingerprint

    def documents(self) -> Iterator[Iterator[str]]:
        """The documents, sorted by name."""
        with (_gathered().folder / f"{self.split}.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                yield iter([json.loads(line)])


def _gathered() -> Entry:
    library = Path(sysconfig.get_path("stdlib"))
    return entry("python-docs", digest([_FORMAT, sys.version, str(library)]), _gather)


def _gather(folder: Path) -> dict[str, Any]:
    documents = _topics() | _docstrings(Path(sysconfig.get_path("stdlib")))
    fingerprints = {}
    for split, names in by_hash(sorted(documents)).items():
        texts = [documents[name] for name in names]
        atomic.write_text(folder / f"{split}.jsonl", "".join(f"{json.dumps(text)}\n" for text in texts))
        fingerprints[split] = f"python-{platform.python_version()}-{digest(texts)}"
    return {"fingerprints": fingerprints}


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    # Some topics are the same text under several names.
    first_names = {text: name for name, text in sorted(topics.items(), reverse=True)}
    return {f"topics/{name}": text for text, name in first_names.items()}


def _docstrings(library: Path) -> dict[str, str]:
    """The docstrings of each module that has any, by the path of its source; each docstring once in all."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for path in _sources(library):
        fresh = [text for text in _of_source(path) if text not in seen]
        unique = list(dict.fromkeys(fresh))
        seen.update(unique)
        if unique:
            found[path.relative_to(library).as_posix()] = "\n\n".join(unique) + "\n"
    if not found:
        raise UserError(f"the standard library in {library} has no sources to read 'python-docs' from.")
    return found


def _sources(library: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(library):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def _of_source(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's remarks on others' code
        tree = ast.parse(path.read_bytes(), filename=str(path))
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.strip():
                yield text
        # Definitions stand in statements, never in expressions, which are most of a tree.
        statements = (n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt | ast.excepthandler))
        pending.extend(reversed(list(statements)))
