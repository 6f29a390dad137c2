"""Reading YAML that people wrote: a mistake is told in one sentence with its line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pebench.errors import UserError
from pebench.notation.text_file import read_text


class _Constructor(SafeConstructor):
    """YAML 1.2 without dates, and with ``=`` and ``<<`` as the texts that they are where a value stands."""


for _tag in ("timestamp", "value", "merge"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", SafeConstructor.construct_yaml_str)


def is_named(text: str) -> bool:
    """Whether a text is the name of a YAML file."""
    return Path(text).suffix in (".yaml", ".yml")


def read_mapping(path: Path) -> tuple[dict[str, Any], str]:
    """The mapping that a YAML file holds, and the text it was read from.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds something else than a mapping.
    """
    text = read_text(path)
    return parse_mapping(text, str(path)), text


def parse_mapping(text: str, owner: str) -> dict[str, Any]:
    """The mapping of a YAML text.

    Args:
        text: the YAML.
        owner: where it stands; see `parse`.

    Raises:
        UserError: it is not YAML, or something else than a mapping.
    """
    value = parse(text, owner)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{owner} must hold 'key: value' lines, not {_kind(value)}.")
    return value


def parse(text: str, owner: str) -> Any:
    """The value of a YAML text.

    Args:
        text: the YAML.
        owner: where it stands, as the start of a sentence: a path, or an option of the command line.

    Raises:
        UserError: it is not YAML; the sentence gives the line.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # A key that stands twice is named with both its values, which may be as long as the file.
        problem = str(error.problem or error.context).partition(" with value ")[0]
        raise UserError(f"{owner}{line}: {problem}.") from None
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{owner}: {' '.join(str(error).split()).rstrip('.')}.") from None


def text(values: dict[str, Any]) -> str:
    """The YAML of a mapping."""
    written = io.StringIO()
    YAML(typ="safe", pure=True).dump(values, written)
    return written.getvalue()


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else f"{value!r:.60}"
