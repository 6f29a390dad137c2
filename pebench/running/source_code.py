"""Digest of the installed code, its difference from the commit, and the comparison with a submitted job's."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path, PurePath

import pebench
import pebench.encodings
import pebench.tasks
from pebench.plugins.packages import version
from pebench.specification.run_spec import Frozen, RunSpec

PACKAGES = ("torch", "numpy", "datasets", "tokenizers", "timm", "lm-eval", "safetensors")
"""Packages whose version may change a result."""

_ROOMS_WITHOUT_EFFECT = {
    *("command_line", "commands", "conformance", "exchange", "extending", "leaderboard", "portrait"),
    *("submission", "sweeping", "tracking"),
}
_FILES_WITHOUT_EFFECT = {
    *("__main__.py", "api.py", "doctor.py", "lm_eval.py", "machine/console.py", "notation/quantities.py"),
    *("notation/text_file.py", "plugins/memo.py", "pretrained/configuration.py"),
    *("specification/flat_spec.py", "store/sweep_records.py", "store/tuned_choices.py"),
}
"""Parts of the package that no result depends on: nothing that carries out a run imports them."""

_PLUGINS = {"encodings": pebench.encodings, "tasks": pebench.tasks}


_CODE = (".", ":(exclude)docs", ":(exclude)results")
"""Paths that git compares: regenerated tables and pages are no other code."""


class Code(Frozen):
    """The code that decides results.

    Attributes:
        version: of pebench.
        commit: of the checkout, None where it is installed otherwise or git is not there.
        dirty: whether files differ from the commit, None likewise.
        files: SHA-256 by file.
        packages: version of each of `PACKAGES`, None for one that is not installed.
    """

    version: str
    commit: str | None
    dirty: bool | None
    files: dict[str, str]
    packages: dict[str, str | None]

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits that are equal for equal files."""
        text = json.dumps(self.files, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def installed() -> Code:
    """The code as it is on the disk now."""
    head, dirty = commit()
    return Code(
        version=pebench.__version__,
        commit=head,
        dirty=dirty,
        files={name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files().items()},
        packages=packages(),
    )


def changes(before: Code, now: Code, spec: RunSpec) -> list[str]:
    """Files and packages that a run depends on and that changed, as ``pebench/models/decoder.py``.

    Encodings and tasks other than its own, and those that these import, are no concern of a run.
    """
    own = _plugins_of(spec)
    files = [
        name
        for name in sorted(before.files.keys() | now.files.keys())
        if before.files.get(name) != now.files.get(name)
        and (name.partition("/")[0] not in _PLUGINS or _plugin(name) in own)
    ]
    versions = [
        f"{name} {before.packages.get(name)} → {now.packages.get(name)}"
        for name in sorted(before.packages.keys() | now.packages.keys())
        if before.packages.get(name) != now.packages.get(name)
    ]
    return files + versions


def commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that pebench runs from, and whether tracked files other than docs and
    results differ from it; None for both where it runs from an installed copy or git is not there."""
    root = _root()
    if not (root / ".git").exists():
        return None, None
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        return head, bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE).strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def patch() -> str:
    """Diff from the commit to the code on the disk, new files of the package included; empty where it is
    the commit, or where there is none."""
    root = _root()
    if not (root / ".git").exists():
        return ""
    try:
        tracked = _git(root, "diff", "--binary", "HEAD", "--", *_CODE)
        rooms = [room for room in ("pebench", *_PLUGINS) if (root / room).is_dir()]
        new = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *rooms)
        added = (
            _git(root, "diff", "--binary", "--no-index", "/dev/null", name, differs=True)
            for name in filter(None, new.split("\0"))
        )
        return tracked + "".join(added)
    except (OSError, subprocess.SubprocessError):
        return ""


def packages() -> dict[str, str | None]:
    """The version of each of `PACKAGES`."""
    return {name: version(name) for name in PACKAGES}


def _plugins_of(spec: RunSpec) -> set[str]:
    """The encodings and tasks that a run depends on: its own, and all that these import."""
    names = [*(f"encodings/{part.name}" for part in spec.encoding.parts), f"tasks/{spec.task.name}"]
    waiting, found = [name.replace("-", "_") for name in names], set[str]()
    while waiting:
        plugin = waiting.pop()
        if plugin not in found:
            found.add(plugin)
            texts = [path.read_text("utf-8") for name, path in _files().items() if _plugin(name) == plugin]
            imports = re.findall(r"pebench\.(encodings|tasks)\.(\w+)", "\n".join(texts))
            waiting += [f"{room}/{module}" for room, module in imports]
    return found


def _plugin(name: str) -> str:
    """The encoding or task that a file is of, as ``encodings/seqpe`` for ``encodings/seqpe/encoder.py``."""
    return "/".join(PurePath(name).with_suffix("").parts[:2])


def _files() -> dict[str, Path]:
    """The files that results depend on, by names that do not depend on how the package is installed."""
    package = Path(pebench.__file__).resolve().parent
    found = {}
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        room = name.partition("/")[0]
        if room not in _PLUGINS.keys() | _ROOMS_WITHOUT_EFFECT and name not in _FILES_WITHOUT_EFFECT:
            found[f"pebench/{name}"] = path
    for room, module in _PLUGINS.items():
        for folder in module.__path__:
            for path in Path(folder).rglob("*.py"):
                found[f"{room}/{path.relative_to(folder).as_posix()}"] = path
    return found


def _root() -> Path:
    return Path(pebench.__file__).resolve().parents[1]


def _git(root: Path, *arguments: str, differs: bool = False) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # A comparison of two files ends with 1 where they differ.
    if done.returncode and not (differs and done.returncode == 1):
        raise subprocess.SubprocessError(done.stderr)
    return done.stdout
