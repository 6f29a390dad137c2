"""What is installed is what is in the checkout: as a wheel, through a source distribution, and editable."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pebench

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = [
    "pebench",
    "encodings",
    "tasks",
    "sweeps",
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
]
PARTS = ["pebench", "encodings", "tasks"]

OF_GPUS = {
    "pebench.attention.adjusted",
    "pebench.attention.adjusted_kernels",
    "pebench.attention.counted",
    "pebench.attention.counted_kernels",
    "pebench.attention.mean_gradients",
    "pebench.attention.shared",
    "pebench.attention.shared_kernels",
    "pebench.attention.softmax_kernels",
    "pebench.attention.tile_kernels",
    "pebench.attention.tiles",
}
"""Modules that import Triton, which PyTorch brings in its builds for CUDA alone."""

IMPORT_EVERYTHING = f"""
import importlib, importlib.util, pkgutil, pebench, pebench.encodings, pebench.tasks
left = set() if importlib.util.find_spec("triton") else {OF_GPUS}
# The folders that a checkout adds to these two packages have joined their paths by now.
for module in pkgutil.walk_packages(pebench.__path__, "pebench."):
    if not module.name.endswith("__main__") and module.name not in left:
        print(module.name, importlib.import_module(module.name).__file__)
"""


def python(*arguments: str, path: Path, cwd: Path) -> str:
    """What a fresh interpreter prints that is started in `cwd` with `path` on its PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(folder: Path) -> set[str]:
    """The modules that a checkout ought to have, by their names as they are imported."""
    found = set()
    for part in PARTS:
        for file in (folder / part).rglob("*.py"):
            name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            found.add(name if part == "pebench" else f"pebench.{name}")
    return found - {"pebench", "pebench.__main__"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that is packaged, so that building touches nothing of the original."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder)
    for name in PARTS:  # what an interpreter leaves behind is no part of a package
        (folder / name / "__pycache__").mkdir(exist_ok=True)
        (folder / name / "__pycache__" / "left.cpython-311.pyc").write_bytes(b"")
    return folder


def build(checkout: Path, *arguments: str) -> Path:
    """The wheel that an offline build leaves in a folder of its own."""
    folder = checkout / "dist" / "-".join(arguments or ("both",))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments]
    done = subprocess.run([*command, str(checkout)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    """A wheel that is built from the checkout."""
    return build(checkout, "--wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, outside the checkout, with the wheel installed by pip."""
    target = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return target


def test_the_wheel_holds_the_package_the_plugins_and_the_sweeps(checkout: Path, wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"pebench/encodings/rope.py", "pebench/encodings/seqpe/__init__.py"} <= held
    assert {"pebench/tasks/language_modeling.py", "pebench/sweeps/quickstart.yaml"} <= held
    kept = {".py", ".css", ".csv", ".jinja", ".js", ".json"}
    package = (file for file in (checkout / "pebench").rglob("*") if file.suffix in kept)
    expected = {file.relative_to(checkout / "pebench") for file in package}
    assert {Path("leaderboard/published.csv"), Path("leaderboard/report/report.html.jinja")} <= expected
    assert Path("data/pocket_questions/train.json") in expected
    for part in ("encodings", "tasks", "sweeps"):
        files = (file for file in (checkout / part).rglob("*") if file.suffix in {".py", ".yaml"})
        expected |= {file.relative_to(checkout) for file in files}
    program = {name for name in held if ".dist-info/" not in name}
    assert program == {f"pebench/{file.as_posix()}" for file in expected}
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_a_source_distribution_makes_the_same_wheel(checkout: Path, wheel: Path) -> None:
    def contents(path: Path) -> dict[str, bytes]:
        archive = zipfile.ZipFile(path)
        return {name: archive.read(name) for name in archive.namelist()}

    assert contents(build(checkout)) == contents(wheel)


def test_every_module_of_an_installed_wheel_can_be_imported(
    checkout: Path, installed: Path, tmp_path: Path
) -> None:
    lines = python("-c", IMPORT_EVERYTHING, path=installed, cwd=tmp_path).splitlines()
    files = dict(line.split(" ", 1) for line in lines)
    assert set(files) == modules(checkout) - (set() if find_spec("triton") else OF_GPUS)
    assert all(Path(file).is_relative_to(installed) for file in files.values())


def test_an_installed_wheel_knows_its_plugins_and_its_sweeps(installed: Path, tmp_path: Path) -> None:
    listed = python("-m", "pebench", "list", path=installed, cwd=tmp_path)
    assert {"rope", "seqpe", "language-modeling"} <= {line.split()[0] for line in listed.splitlines()}
    cells = "import pebench; print(len(pebench.load_sweep('quickstart').cells))"
    assert int(python("-c", cells, path=installed, cwd=tmp_path)) >= 14


def test_an_editable_install_reads_the_checkout_and_sees_new_files(checkout: Path, tmp_path: Path) -> None:
    code = f"import hatchling.build; print(hatchling.build.build_editable({str(tmp_path)!r}))"
    name = python("-c", code, path=tmp_path, cwd=checkout).strip()
    site = tmp_path / "site"
    zipfile.ZipFile(tmp_path / name).extractall(site)
    assert not (site / "pebench").exists(), "a copy would grow old beside the checkout"
    new = checkout / "encodings" / "brand_new.py"
    new.write_text('"""New."""\nfrom pebench.encodings.rope import RotaryEncoding as _Rope\n')
    # Libraries without the .pth files beside them, so that this installation of pebench is the only one.
    libraries = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    code = (
        f"import sys, site; site.addsitedir({str(site)!r}); sys.path += {libraries!r};"
        "import pebench.encodings.rope, pebench.encodings.brand_new, pebench.tasks.language_modeling as task;"
        "from pebench.plugins.registry import encodings;"
        "print(pebench.encodings.rope.__file__, task.__file__, encodings.origin('brand-new').file, sep='\\n')"
    )
    try:
        files = python("-S", "-c", code, path=tmp_path, cwd=tmp_path).splitlines()
    finally:
        new.unlink()
    assert files == [
        str(checkout / "encodings" / "rope.py"),
        str(checkout / "tasks" / "language_modeling.py"),
        str(new),
    ]


def test_the_interpreter_starts_with_the_checkout_on_its_path(tmp_path: Path) -> None:
    code = "import encodings.utf_8, pebench.encodings.rope as rope; print(encodings.__file__, rope.__file__)"
    for place in (tmp_path, REPOSITORY):
        standard, rope = python("-c", code, path=REPOSITORY, cwd=place).split()
        assert not Path(standard).is_relative_to(REPOSITORY / "encodings")
        assert Path(rope) == REPOSITORY / "encodings" / "rope.py"


@pytest.mark.parametrize("folder", ["encodings", "tasks"])
def test_the_folders_of_plugins_are_no_packages(folder: str) -> None:
    assert not (REPOSITORY / folder / "__init__.py").exists()


def declared(*extras: str) -> dict[str, Requirement]:
    """The requirements in pyproject.toml, by name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found = {canonicalize_name(one.name): one for one in map(Requirement, lines)}
    found.pop(canonicalize_name("pebench"), None)
    return {str(name): requirement for name, requirement in found.items()}


def pinned() -> list[Requirement]:
    """The lines of constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def imported() -> Iterator[str]:
    """The top-level modules that the package, the encodings and the tasks import, inside functions too."""
    for part in PARTS:
        for file in (REPOSITORY / part).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.split(".")[0]


def test_what_is_imported_is_declared() -> None:
    providers = importlib.metadata.packages_distributions()
    known = {*sys.stdlib_module_names, "pebench", "triton"}
    assert "torch" in declared(), "it brings triton where there is a GPU"
    for module in {*imported()} - known:
        names = {str(canonicalize_name(name)) for name in providers[module]}
        assert names & set(declared("hf")), (
            f"'{module}' comes from {names}, which pyproject.toml does not name"
        )


def test_the_pins_are_exact_and_cover_what_is_declared() -> None:
    pins: dict[str, str] = {}
    for requirement in pinned():
        exact = re.fullmatch(r"==([^+*]+)", str(requirement.specifier))
        assert exact, (
            f"'{requirement}' is no exact release; a local part (+cpu) would bind others to one build"
        )
        name = str(canonicalize_name(requirement.name))
        assert name not in pins, f"'{name}' is pinned twice"
        pins[name] = exact[1]
    for name, requirement in declared("test", "dev").items():
        assert name in pins, f"'{name}' is declared but not pinned"
        assert requirement.specifier.contains(pins[name]), f"{requirement} refuses the pinned {pins[name]}"


def test_the_version_is_that_of_the_package_and_of_the_changelog(wheel: Path) -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    assert newest
    assert pebench.__version__ == newest[1]
    assert wheel.name.startswith(f"pebench-{newest[1]}-")
