"""Plugins are known by their files, imported on first use, and refused in one sentence when wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pebench.errors import UserError, there_is, unknown
from pebench.plugins.registry import Registry, encodings, tasks
from pebench.position_encoding import PositionEncoding

REPOSITORY = Path(__file__).resolve().parents[1]

SOUND = '''"""Does nothing at all."""

from pebench.position_encoding import PositionEncoding


class Nothing(PositionEncoding):
    """See above."""

    axes = (1, 2)
    acts = ""
'''


@pytest.fixture
def registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Registry[Any]:
    """The encodings of an empty package of its own, in the folder `registry.package` of `tmp_path`."""
    package = f"package_of_{request.node.originalname}"
    (tmp_path / package).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("encoding", package, "pebench.position_encoding:PositionEncoding")


def test_names_are_those_of_the_files_and_folders() -> None:
    def expected(folder: str) -> set[str]:
        return {
            path.stem.replace("_", "-")
            for path in (REPOSITORY / folder).iterdir()
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        }

    assert set(encodings.origins()) == expected("encodings") >= {"none", "rope", "alibi", "seqpe"}
    assert set(tasks.origins()) == expected("tasks") >= {"language-modeling"}


def test_names_and_what_the_source_says_are_known_without_an_import() -> None:
    code = (
        "import json, sys; from pebench.plugins.registry import encodings, tasks;"
        "facts = {name: r.literals(name) for r in (encodings, tasks) for name in r.origins()};"
        "named = ('torch', 'pebench.encodings.', 'pebench.tasks.');"
        "heavy = [module for module in sys.modules if module.startswith(named)];"
        "print(json.dumps([facts, heavy]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts, heavy = json.loads(done.stdout)
    assert heavy == []
    assert facts["rope"]["acts"] == "R"
    assert "queries and keys" in facts["rope"]["summary"]
    assert facts["language-modeling"]["item"] == "tokens"


@pytest.mark.parametrize("name", encodings.origins())
def test_what_the_source_says_is_what_the_class_says(name: str) -> None:
    cls = encodings.load(name)
    for attribute, value in encodings.literals(name).items():
        if attribute != "summary":
            assert getattr(cls, attribute) == value


def test_an_underscore_in_a_file_is_a_hyphen_in_a_name(registry: Registry[Any], tmp_path: Path) -> None:
    (tmp_path / registry.package / "of_two_words.py").write_text(SOUND)
    folder = tmp_path / registry.package / "whole_folder"
    folder.mkdir()
    (folder / "__init__.py").write_text(SOUND)
    assert [*registry.origins()] == ["of-two-words", "whole-folder"]
    assert registry.origin("of-two-words").file == tmp_path / registry.package / "of_two_words.py"
    assert registry.load("whole-folder").__name__ == "Nothing"
    assert registry.literals("of-two-words") == {
        "summary": "Does nothing at all.",
        "axes": (1, 2),
        "acts": "",
    }


@pytest.mark.parametrize(
    ("registry_of_kind", "name", "answer"),
    [
        (encodings, "rpoe", "unknown encoding 'rpoe': did you mean 'rope'"),
        (encodings, "ALiBi", "unknown encoding 'ALiBi': did you mean 'alibi'?"),
        (
            encodings,
            "zzz",
            f"unknown encoding 'zzz': there are {len(encodings.origins())}, among them ",
        ),
        (encodings, "alibi:slopes=2", "'alibi:slopes=2' is no name: 'alibi' with options is written as "),
        (encodings, "alby:slopes=2", "unknown encoding 'alby:slopes=2': "),
        (tasks, "language-modelling", "unknown task 'language-modelling': did you mean 'language-modeling'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    registry_of_kind: Registry[Any], name: str, answer: str
) -> None:
    for ask in (registry_of_kind.origin, registry_of_kind.load, registry_of_kind.literals):
        with pytest.raises(UserError) as caught:
            ask(name)
        assert str(caught.value).startswith(answer)


@pytest.mark.parametrize(
    ("names", "said"),
    [((), "there is none"), (("ab",), "there is 'ab'"), (("b", "a"), "there are 'b' and 'a'")],
)
def test_what_there_is_agrees_in_number(names: tuple[str, ...], said: str) -> None:
    assert there_is(names) == said
    assert str(unknown("name", "zzz", names)).endswith(f": {there_is(sorted(names))}.")


def test_an_empty_registry_says_so(registry: Registry[Any]) -> None:
    with pytest.raises(UserError, match="unknown encoding 'rope': there is none"):
        registry.load("rope")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import a_module_that_nobody_has",
            "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
        ),
        ("class Unfinished(", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
    ids=["import", "syntax", "exception"],
)
def test_a_plugin_that_cannot_be_imported_is_one_sentence_with_its_file(
    registry: Registry[Any], tmp_path: Path, source: str, reason: str
) -> None:
    file = tmp_path / registry.package / f"broken_{reason[:4].lower()}.py"
    file.write_text(source)
    (name,) = registry.origins()
    with pytest.raises(UserError) as caught:
        registry.load(name)
    assert str(caught.value).startswith(f"encoding '{name}' ({file}) cannot be imported: {reason}")
    assert "\n" not in str(caught.value)


def test_a_source_that_is_not_python_is_one_sentence_with_its_file(
    registry: Registry[Any], tmp_path: Path
) -> None:
    file = tmp_path / registry.package / "prose.py"
    file.write_text("This is not Python.")
    with pytest.raises(UserError, match=r"encoding 'prose' \(.*prose\.py\) cannot be read: invalid syntax"):
        registry.literals("prose")


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ("from pebench.position_encoding import PositionEncoding", 0),
        (SOUND.replace("class Nothing", "class _Private"), 0),
        (SOUND + SOUND.replace("class Nothing", "class Another"), 2),
    ],
    ids=["empty", "imported only", "private only", "two"],
)
def test_a_file_holds_exactly_one_encoding(
    registry: Registry[Any], tmp_path: Path, source: str, count: int
) -> None:
    name = f"holds-{len(source)}"
    file = tmp_path / registry.package / f"holds_{len(source)}.py"
    file.write_text(source)
    with pytest.raises(UserError) as caught:
        registry.load(name)
    assert str(caught.value) == f"{file} must define one PositionEncoding, but defines {count}."


def test_a_helper_class_beside_the_encoding_is_no_encoding(registry: Registry[Any], tmp_path: Path) -> None:
    helpers = "class Helper:\n    pass\n\n\nclass _Base(PositionEncoding):\n    pass\n"
    (tmp_path / registry.package / "with_helpers.py").write_text(SOUND + helpers)
    found = registry.load("with-helpers")
    assert found.__name__ == "Nothing"
    assert issubclass(found, PositionEncoding)
