"""Reading YAML that people wrote: a mistake is told in one sentence with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pebench.errors import UserError
from pebench.text_file import read_text


class _Loader(yaml.SafeLoader):
    """Plain YAML, in which a key stands once, ``1e-3`` is a number and ``4:00:00`` is none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, refused where a key stands twice: PyYAML alone would keep the last and say nothing."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 also takes 4:00:00 for 14,400, and a time limit would have as many minutes. The first match counts.
_CLOCK = ("tag:yaml.org,2002:str", re.compile(r"^[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?$"))
_Loader.yaml_implicit_resolvers = {
    first: [_CLOCK, *resolvers] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1, which PyYAML reads, takes 1e-3 for text because it has no dot; YAML 1.2 and most people do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


# YAML 1.1 gives a lone '=' a meaning of its own, which nobody means; here it is text.
_Loader.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)


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
        text: the YAML. owner: where it stands; see `parse`.

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
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{owner}{line}: {error.problem or error.context}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{owner}: {' '.join(str(error).split()).rstrip('.')}.") from None


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else f"{value!r:.60}"
