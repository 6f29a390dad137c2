"""A mark for functions whose result a compiler may take for a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def constant_result(function: Function) -> Function:
    """Lets `torch.compile` call a function while it traces, and take its result for a constant.

    `torch.compiler.assume_constant_result` sets the same mark, but imports the whole compiler for that: a
    second, of which a command that compiles nothing has no use.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
