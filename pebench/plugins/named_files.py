"""Files named on the command line that encodings and tasks come from, of which run folders keep copies."""

from __future__ import annotations

from pebench.plugins.registry import encodings, tasks
from pebench.specification.run_spec import PluginConfig, RunSpec


def plugin_files(spec: RunSpec) -> dict[str, bytes]:
    """The contents of the files that a specification names, by file name."""
    return contents(spec.encoding, spec.task.name)


def contents(encoding: PluginConfig, task: str) -> dict[str, bytes]:
    """The contents of the files that the parts of an encoding and a task come from, by file name.

    Args:
        encoding: with its options.
        task: its name.

    Raises:
        UserError: there is no such encoding or task.
    """
    origins = [*(encodings.origin(part.name) for part in encoding.parts), tasks.origin(task)]
    return {o.file.name: o.file.read_bytes() for o in origins if o.provider == "file" and o.file is not None}
