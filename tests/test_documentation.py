"""What the documentation says is so: its links lead somewhere, its code runs, its commands exist."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml
from specimens import pretrained_folders

from pebench.command_line.main import pebench
from pebench.plugins.registry import Registry, encodings, tasks

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("results/**/*.md")]
)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of these languages on all pages."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(str(page.relative_to(REPOSITORY)), line, match[1], match[2]))
    return [block for block in found if block.language in languages]


def prose(page: Path) -> str:
    """A page without its code, in which brackets mean something else."""
    return re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_into_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        assert there.is_relative_to(REPOSITORY), f"{target} leads out of the project"
        if anchor:
            assert anchor in anchors(there), f"{target}: no heading bears this name"


def defines_encoding(block: Block) -> bool:
    """Whether a block of Python is a plugin."""
    return re.search(r"^class \w+\(PositionEncoding\)", block.text, re.MULTILINE) is not None


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_in_the_documentation_is_python_and_its_encodings_are_encodings(
    block: Block, tmp_path: Path
) -> None:
    compile(block.text, str(block), "exec")
    if defines_encoding(block):
        file = tmp_path / f"of_{Path(block.page).stem.lower()}_{block.line}.py"
        file.write_text(block.text, encoding="utf-8")
        registry = Registry[type](encodings.kind, encodings.package, encodings.base)
        name = registry.add_file(file)
        assert name
        assert registry.literals(name)["summary"]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_sweeps_in_the_documentation_can_be_read(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = yaml.safe_load(block.text)
    if "encodings" in written:
        from pebench import load_sweep

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(encodings, "_files", {})
        for plugin in written.get("plugins", []):
            (tmp_path / plugin).write_text(next(filter(defines_encoding, blocks("python"))).text, "utf-8")
        if "hf:models/smollm" in block.text:
            sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
            small = pretrained_folders.build("Llama", intermediate_size=16, **sizes)
            pretrained_folders.save(small, tmp_path / "models" / "smollm")
        file = tmp_path / "sweep.yaml"
        file.write_text(block.text, encoding="utf-8")
        assert load_sweep(file).cells


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The program and the arguments of every command line of a shell script, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words[0], words[1:]


def names() -> list[str]:
    """The commands there are."""
    return pebench.list_commands(click.Context(pebench))


def command(name: str) -> click.Command:
    """The command of a name."""
    found = pebench.get_command(click.Context(pebench), name)
    assert found
    return found


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command reads its arguments and then does nothing."""
    for each in [pebench, *map(command, names())]:
        monkeypatch.setattr(each, "callback", None)


def parse(arguments: list[str]) -> None:
    """Reads the arguments of pebench.

    Raises:
        click.UsageError, UserError: there is no such command, option or choice.
    """
    pebench.main(arguments, prog_name="pebench", standalone_mode=False)


def targets() -> set[str]:
    """What `make` can make."""
    return set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("block", blocks("bash", "sh", "shell", "console"), ids=str)
def test_commands_in_the_documentation_exist_with_their_options(block: Block) -> None:
    for program, arguments in commands(block.text):
        if program == "pebench":
            parse(arguments)
        elif program == "make":
            assert {word for word in arguments if "=" not in word} <= targets()


def spans(page: Path) -> list[str]:
    """The code in the running text of a page."""
    without_blocks = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", without_blocks)


def flags(*commands: click.Command) -> set[str]:
    """The options of commands, as they are written."""
    parameters = (one for each in commands for one in each.get_params(click.Context(each)))
    return {option for one in parameters for option in (*one.opts, *one.secondary_opts)}


def of_benchmarks() -> set[str]:
    """The options that benchmarks add to those of `pebench bench`."""
    sources = (path.read_text("utf-8") for path in (REPOSITORY / "benchmarks").glob("*.py"))
    return {option for source in sources for option in re.findall(r'"(--[a-z-]+)"', source)}


OF_OTHERS = {"--app-name", "--batch_size"}
"""Options of MLflow and lm-eval that the pages mention."""


@pytest.mark.parametrize(
    "page",
    # What changed between versions may speak of options that are gone.
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_commands_and_options_in_running_text_exist(page: Path) -> None:
    everywhere = flags(pebench, *map(command, names())) | of_benchmarks() | OF_OTHERS
    for span in spans(page):
        program, *words = span.split()
        written = {word.partition("=")[0] for word in (program, *words) if re.match(r"--[a-z]", word)}
        if program != "pebench":
            assert written <= everywhere, span
            continue
        named = [word for word in words if word in names()]
        assert named or "COMMAND" in words or "--plugin" in words or not words, span
        # A benchmark has options of its own, and lm-eval's go on to lm-eval.
        if named and named[0] not in ("bench", "lm-eval"):
            assert written <= flags(pebench, command(named[0])), span


def test_the_front_page_names_every_command_and_every_task() -> None:
    said = {word for span in spans(REPOSITORY / "README.md") for word in span.split()}
    assert set(names()) - said == set()
    assert set(tasks.origins()) - said == set()


def test_the_page_of_tasks_has_a_row_for_every_task() -> None:
    page = REPOSITORY / "docs" / "tasks.md"
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(", page.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(tasks.origins())


def test_every_task_has_what_it_asks_what_was_seen_where_to_start_and_a_picture() -> None:
    page = (REPOSITORY / "docs" / "tasks.md").read_text("utf-8")
    parts = re.split(r"^###? ([\w-]+)$", page, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name in tasks.origins():
        found = re.findall(r"\*\*(Asked|Seen|Sweep|Picture)\b", sections[name])
        assert list(dict.fromkeys(found)) == ["Asked", "Seen", "Sweep", "Picture"], name


def test_the_page_of_sweeps_names_every_sweep_that_comes_along() -> None:
    sweeps = {path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml")}
    page = (REPOSITORY / "docs" / "sweeps.md").read_text("utf-8")
    section = page.split("## The sweeps that come along")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    said = re.findall(r"`([\w-]+)`", " ".join(cells))
    assert sorted(said) == sorted(name for name in sweeps if not name.endswith("-smoke"))
    assert {name.removesuffix("-smoke") for name in sweeps} <= set(said)


def test_the_losses_beside_the_published_code_are_those_of_the_results() -> None:
    found: dict[tuple[int, str], list[float]] = {}
    with (REPOSITORY / "results" / "seqpe-beside-published" / "held-out.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault((int(row["extent"]), row["side"]), []).append(float(row["nats"]))
    page = (REPOSITORY / "docs" / "seqpe.md").read_text("utf-8")
    said = re.findall(r"^\| ([\d,]+)(?: \(trained\))? \| ([\d., ]+) \| ([\d., ]+) \|$", page, re.MULTILINE)
    assert len(said) * 2 == len(found) == 10
    for extent, *sides in said:
        for side, losses in zip(("published code", "here"), sides, strict=True):
            own = found[int(extent.replace(",", "")), side]
            assert losses == ", ".join(f"{loss:.2f}" for loss in own)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", names())
def test_the_help_of_a_command_ends_in_examples_that_can_be_read(name: str) -> None:
    _, heading, lines = re.split(r"^(\s*Examples?:)$", command(name).help or "", flags=re.MULTILINE)
    assert heading
    assert lines.strip()
    for program, arguments in commands(lines):
        assert program == "pebench"
        assert name in arguments
        parse(arguments)


def tracked() -> list[Path]:
    """The files of the project that hold text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".cfg", ""}
    paths = (REPOSITORY / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.suffix in texts and path.is_file() and path.name != "LICENSE"]


def test_nothing_is_left_to_do_and_nobodys_home_is_named() -> None:
    unfinished = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|^[A-Z]+(_[A-Z]+)+$")
    homes = re.compile(r"(?<![\w.$}/])/(home|root|work|Users|mnt)/\w")
    for path in tracked():
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            place = f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
            assert not unfinished.search(line), place
            assert not homes.search(line), place
