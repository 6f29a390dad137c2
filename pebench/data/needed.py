"""Data that a task reads, as something to look for without the task, whose model needs PyTorch."""

from __future__ import annotations

import importlib
import typing
from typing import Any

from pydantic import TypeAdapter

from pebench.specification.run_spec import Frozen


class Needed(Frozen):
    """Data that must be there.

    Attributes:
        look: ``"module:function"`` that finds them, whose arguments are annotated.
        at: the arguments by name, as JSON values.
    """

    look: str
    at: dict[str, Any]

    def find(self) -> None:
        """Looks for them.

        Raises:
            UserError: they are not there.
        """
        module, _, name = self.look.partition(":")
        function = getattr(importlib.import_module(module), name)
        kinds = typing.get_type_hints(function)
        function(**{name: TypeAdapter(kinds[name]).validate_python(value) for name, value in self.at.items()})
