"""The tensors in the files of a model of transformers, by the full names that its architecture gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pebench.errors import UserError
from pebench.pretrained.architecture import Architecture
from pebench.pretrained.weight_names import Entry

_FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of numbers that stand for themselves; all others are quantized, and mean something with scales."""


class WeightFiles(Mapping[str, Tensor]):
    """All tensors of a model, each read when it is asked for."""

    def __init__(
        self, files: Sequence[Path], architecture: Architecture, label: str, stack: ExitStack
    ) -> None:
        """
        Args:
            files: of the weights. architecture: of the model. label: what it is called.
            stack: keeps the files open.

        Raises:
            UserError: a file cannot be read.
        """
        self._architecture, self._label = architecture, label
        self._places: dict[str, tuple[Any, str]] = {}
        for file in files:
            try:
                opened = stack.enter_context(safe_open(file, framework="pt"))
            except (OSError, SafetensorError) as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise UserError(f"{file} cannot be read: {reason}.") from error
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                if not name.endswith(architecture.buffers):
                    kept = name.startswith((architecture.prefix, architecture.head))
                    self._places[name if kept else architecture.prefix + name] = opened, name

    def __getitem__(self, name: str) -> Tensor:
        opened, own = self._places[name]
        tensor: Tensor = opened.get_tensor(own)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def refuse_others(self, entries: Sequence[Entry], tied: bool, shapes: Mapping[str, torch.Size]) -> None:
        """Reads nothing but what the heads of the files say.

        Args:
            entries: of the architecture. tied: whether the head is the embedding of the tokens.
            shapes: of our tensors, by name.

        Raises:
            UserError: the weights are not those of the configuration.
        """
        wanted = [name for entry in entries for name in entry.theirs]
        missing = sorted({*wanted} - self.keys())
        if missing:
            raise UserError(
                f"'{self._label}' has no weights '{missing[0]}', which its configuration asks for."
            )
        # Some write down the tied head as well.
        left = sorted(self.keys() - {*wanted, *([self._architecture.head] if tied else [])})
        if left:
            raise UserError(
                f"'{self._label}' has weights '{self._places[left[0]][1]}', which no model here has a place "
                "for."
            )
        for entry in entries:
            for name in entry.theirs:
                kind = self._head_of(name).get_dtype()
                if kind not in _FLOATS:
                    raise UserError(
                        f"'{self._label}' has weights '{name}' of the type {kind}, which are quantized: "
                        "models here compute with weights as they are."
                    )
            self._refuse_size(entry, shapes[entry.ours])

    def refuse_other_head(self, embedding: str) -> None:
        """Refuses a head of its own in a model that says that it is tied: transformers does not tie it then.

        Args:
            embedding: name of the embedding of the tokens.

        Raises:
            UserError: there is such a head.
        """
        head = self._architecture.head
        if head in self and not torch.equal(self[head], self[embedding]):
            raise UserError(
                f"'{self._label}' has weights '{head}' that are not its embedding, and its configuration "
                "says that they are: write 'tie_word_embeddings: false' there."
            )

    def _refuse_size(self, entry: Entry, shape: torch.Size) -> None:
        """
        Raises:
            UserError: tensors do not have the sizes that make up ours.
        """
        sizes = [tuple(self._head_of(name).get_shape()) for name in entry.theirs]
        try:
            fits = entry.join([torch.empty(size, device="meta") for size in sizes]).shape == shape
        except (RuntimeError, IndexError):
            fits = False
        if not fits:
            told = " and ".join("x".join(map(str, size)) or "a single number" for size in sizes)
            names = " and ".join(f"'{name}'" for name in entry.theirs)
            raise UserError(
                f"the weights {names} of '{self._label}' are {told}, which is not what its configuration "
                "says."
            )

    def _head_of(self, name: str) -> Any:
        opened, own = self._places[name]
        return opened.get_slice(own)
