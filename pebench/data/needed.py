"""Data that a task reads, as something to look for without the task, whose model needs PyTorch."""

from __future__ import annotations

import importlib
import typing
from typing import Any

from pydantic import TypeAdapter

from pebench.spec import Frozen


class Needed(Frozen):
    """Data that must be there.

    Attributes:
        look: ``"module:function"`` that finds them, of one argument whose type is annotated.
        at: the argument as a JSON value.
    """

    look: str
    at: Any

    def find(self) -> None:
        """Looks for them.

        Raises:
            UserError: they are not there.
        """
        module, _, name = self.look.partition(":")
        function = getattr(importlib.import_module(module), name)
        hints = typing.get_type_hints(function)
        hints.pop("return", None)
        (kind,) = hints.values()
        function(TypeAdapter(kind).validate_python(self.at))
