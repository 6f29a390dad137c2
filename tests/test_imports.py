"""What may be imported when: the command line stays quick, and dependencies run one way."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "pebench"
HEAVY = ("torch", "mlflow", "pandas", "scipy", "datasets", "matplotlib")
COSTLY = ("pydantic", "submitit", "rich", "ruamel.yaml")
"""Not heavy, but together half of the time that `pebench --help` has."""

LAYERS = [
    {"__init__", "__main__", "api", "command_line", "commands", "doctor", "lm_eval"},
    {"exchange", "extending", "leaderboard", "submission", "tracking"},
    {"sweeping"},
    {"conformance", "portrait", "running"},
    {"models", "pretrained", "resolve", "task_bases"},
    {"task"},
    {"data", "encoding_config", "plugins", "store"},
    {"attention", "formulas"},
    {"position_encoding", "specification"},
    {"atomic", "attention_mask", "encodings", "errors", "machine", "notation", "randomness", "tasks"},
]
"""From the top: a module imports from its own layer and those below."""


def imported(*arguments: str, cache: Path | None = None) -> set[str]:
    """The heavy packages that a command line imports."""
    code = (
        "import sys; from pebench.command_line.main import main; status = main(sys.argv[1:]);"
        f"sys.stderr.write('IMPORTED ' + ' '.join({{*{HEAVY!r}}} & {{*sys.modules}})); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **({} if cache is None else {"PEBENCH_CACHE": str(cache)})},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("IMPORTED ")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["status"],
        ["submit", "--help"],
        ["run", "--help"],
        ["doctor", "--help"],
        ["lm-eval", "--help"],
    ],
)
def test_a_command_that_trains_nothing_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(*arguments) == set()


@pytest.mark.parametrize(
    "arguments",
    [["show", "rope"], ["show", "language-modeling"], ["show", "rope", "--json"]],
    ids=" ".join,
)
def test_what_was_shown_before_is_shown_again_without_torch(arguments: list[str], tmp_path: Path) -> None:
    assert "torch" in imported(*arguments, cache=tmp_path)
    assert imported(*arguments, cache=tmp_path) == set()


def test_a_sweep_that_was_looked_up_is_submitted_and_told_of_without_torch(tmp_path: Path) -> None:
    runs = ["--runs", str(tmp_path / "runs")]
    preview, real = (
        ["submit", "pope-smoke", "--set", "tasks=[dyck]", "--set", "baseline=none", *more, *runs]
        for more in (["--dry-run"], ["--cluster", "local"])
    )
    assert "torch" in imported(*preview, cache=tmp_path)
    assert imported(*preview, cache=tmp_path) == set()
    assert imported(*real, cache=tmp_path) == set()
    assert imported("status", "pope-smoke", *runs, cache=tmp_path) == set()
    assert imported("cancel", "pope-smoke", *runs, cache=tmp_path) == set()


def test_a_command_leaves_without_looking_for_garbage() -> None:
    """After MLflow was imported that took a second."""
    told = (
        "class Told:\n"
        "    def __del__(self): print('looked for garbage')\n"
        "from pebench.command_line.main import main\n"
        "{}"
        "cycle = [Told()]; cycle.append(cycle); del cycle\n"
    )
    for call, said in (("", "looked for garbage\n"), ("main(['--version'])\n", "")):
        done = subprocess.run(
            [sys.executable, "-c", told.format(call)], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith(said)
        assert ("garbage" in done.stdout) == bool(said)


def test_a_process_leaves_with_its_status_after_all_that_is_registered_for_the_end(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("import atexit\natexit.register(print, 'told at the end')\n")
    for arguments, status in ((["--version"], 0), (["--plugin", str(plugin), "list"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "pebench", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert done.stdout.endswith("told at the end\n" if status else f"{version('pebench')}\n")
        assert "Traceback" not in done.stderr


def test_what_is_imported_for_good_is_not_searched_for_garbage() -> None:
    code = (
        "import gc; from pebench.running.importing import import_for_good;"
        "searches = []; gc.callbacks.append(lambda *told: searches.append(told));"
        "import_for_good('pydantic.main'); print(len(searches), gc.isenabled(), gc.get_freeze_count() > 0);"
        "gc.unfreeze(); import_for_good('pydantic.main'); print(gc.get_freeze_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 True True\n0\n"


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = f"import sys, pebench; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_every_command_imports_only_what_is_light() -> None:
    code = (
        "import sys, importlib, pkgutil, pebench.commands as c;"
        "[importlib.import_module(f'pebench.commands.{m.name}') for m in pkgutil.iter_modules(c.__path__)];"
        f"print([name for name in {(*HEAVY, *COSTLY)!r} if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def module_of(path: Path) -> str:
    """The first part of a module's name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def dependencies(source: str, filename: str = "") -> Iterator[str]:
    """The first parts, below the package, of all that a source imports from it, inside functions too."""
    for node in ast.walk(ast.parse(source, filename)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            first, *rest = node.module.split(".")
            if first == "pebench":
                yield from rest[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == "pebench":
                    yield from rest[:1]


def upward(module: str, imports: Iterator[str]) -> list[str]:
    """Those of a module's imports that lie in a layer above its own."""
    place = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    return [name for name in imports if name in place and place[name] < place[module]]


def sources() -> list[Path]:
    """Every file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_run_downwards(path: Path) -> None:
    assert upward(module_of(path), dependencies(path.read_text("utf-8"), str(path))) == []


def test_every_module_is_in_one_layer() -> None:
    layered = [name for layer in LAYERS for name in layer]
    assert len(layered) == len(set(layered))
    assert set(layered) == {module_of(path) for path in PACKAGE.rglob("*.py")}


def test_the_guide_lists_the_folders_from_the_top() -> None:
    guide = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8").partition("## Where to look")[2]
    listed = re.findall(r"^\| `(\w+)` \| (.+) \|$", guide.partition("\n## ")[0], re.MULTILINE)
    names = [name for layer in LAYERS for name in sorted(layer) if name not in ("encodings", "tasks")]
    folders = [name for name in names if (PACKAGE / name / "__init__.py").exists()]
    assert [folder for folder, _ in listed] == folders
    for folder, said in listed:
        title = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8")))
        assert " ".join(str(title).split()).startswith(said), folder


@pytest.mark.parametrize(
    "line",
    ["from pebench.running.run import execute", "from pebench import running", "import pebench.running.run"],
)
def test_the_check_sees_a_dependency_that_runs_upwards(line: str) -> None:
    assert upward("attention", dependencies(f"def f():\n    {line}\n")) == ["running"]


@pytest.mark.parametrize("folder", ["encodings", "tasks"])
def test_the_core_names_no_plugin_and_plugins_know_only_contracts(folder: str) -> None:
    names = {path.stem for path in (PACKAGE.parent / folder).iterdir() if not path.name.startswith("_")}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith(f"pebench.{folder}.")
            ):
                assert node.module.split(".")[2] not in names, f"{path} imports {node.module}"
    for path in (PACKAGE.parent / folder).rglob("*.py"):
        above = set().union(*LAYERS[:4])
        assert not above & set(dependencies(path.read_text("utf-8"), str(path))), path


def test_no_module_bears_the_name_of_a_public_function() -> None:
    code = (
        "import pebench.position_encoding, pebench.running.run, pebench.sweeping.sweep, pebench;"
        "from pebench.position_encoding import Geometry;"
        "assert pebench.encoding('rope', Geometry(16, 2, 1, (8,))).geometry.width == 16;"
        "assert pebench.run.__module__ == 'pebench.api', pebench.run;"
        "assert len(pebench.load_sweep('quickstart').cells) >= 14"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


BEYOND_A_WORKER = (
    *("datasets", "jinja2", "lm_eval", "matplotlib", "mlflow", "pandas", "platformdirs", "requests"),
    *("scipy", "sklearn", "submitit", "tenacity", "timm", "tqdm", "transformers", "zstandard"),
)
"""Packages that a machine which trains language models and hands its runs on can do without."""


def without_packages(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Carries out a command line on a machine where `BEYOND_A_WORKER` is not installed."""
    code = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        known = name.split(".")[0] not in {BEYOND_A_WORKER!r}
        return self.finder.find_spec(name, path, target) if known else None

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
from pebench.command_line.main import main
sys.exit(main(sys.argv[1:]))
"""
    environment = {**os.environ, "PEBENCH_CACHE": str(folder / "cache"), "PEBENCH_RUNS": str(folder / "runs")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )


def test_a_machine_that_only_trains_and_hands_on_needs_few_packages(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nencodings: [rope]\n"
        "tasks: [{language-modeling: {data: python-docs, extent: 16, evaluate: [16], tokens: 64}}]\n"
        "model: {width: 16, layers: 1, heads: 2}\ntrain: {steps: 2, batch: 2}\nseeds: 1\n",
        "utf-8",
    )
    for arguments in (["submit", "tiny.yaml"], ["status", "tiny"], ["export", "tiny", "-o", "tiny.tar.gz"]):
        done = without_packages(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    assert "1 runs, 1 of them finished" in done.stdout
    for arguments, missing in (
        (["leaderboard", "tiny"], "pandas"),
        (["sync"], "mlflow"),
        (["export", "tiny", "-o", "tiny.tar.zst"], "zstandard"),
    ):
        refused = without_packages(tmp_path, *arguments)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert f"'{missing}', which is not installed" in refused.stderr
    assert not (tmp_path / "tiny.tar.zst").exists()


def test_a_run_that_is_not_compiled_imports_no_compiler(place: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from specimens.trained_runs import trained; trained(Path('.'));"
        "assert 'torch._inductor.compile_fx' not in sys.modules"
    )
    tests = str(Path(__file__).parent)
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=place, env={**os.environ, "PYTHONPATH": path}
    )
