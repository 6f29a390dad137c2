"""Where a published language model lies: a folder that transformers can load, or a repository of the hub.

Only files are read, no code of a model's own, and weights as safetensors alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pebench.data.cache import digest
from pebench.data.files import path_to, raw_contents, told
from pebench.errors import UserError, quoted
from pebench.specification.run_spec import HF

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER, TOKENIZER_CONFIG = "adapter_config.json", "tokenizer_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


class Source(NamedTuple):
    """A model's files.

    Attributes:
        reference: ``hf:`` and the absolute path of the folder, or the name on the hub with the commit.
        label: how tables call it.
        folder: with configuration and tokenizer; on the hub's side the weights may still have to be fetched.
        digest: SHA-256 of all that is read of a folder; None on the hub, where the commit stands for it.
    """

    reference: str
    label: str
    folder: Path
    digest: str | None

    def weights(self) -> list[Path]:
        """The files of its weights, fetched where they are not here.

        Raises:
            UserError: there are none, or they cannot be had.
        """
        if self.digest is None:
            _, folder = _snapshot(self.reference.removeprefix(HF), (WEIGHTS, INDEX, "model-*.safetensors"))
            return weight_files(folder, self.label)
        return weight_files(self.folder, self.label)

    def config(self) -> dict[str, Any]:
        """Its configuration as it is written.

        Raises:
            UserError: it cannot be read.
        """
        try:
            found = json.loads((self.folder / CONFIG).read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"the configuration of '{self.label}' cannot be read: {reason}.") from error
        if not isinstance(found, dict):
            raise UserError(f"the configuration of '{self.label}' is no JSON object.")
        return found


def find_source(reference: str) -> Source:
    """A model by its folder or its name on the hub.

    Args:
        reference: ``hf:PATH``, or ``hf:OWNER/NAME``, with ``@`` and a revision behind it where it is not to
            be the newest.

    Raises:
        UserError: it is not there, or no folder of a model.
    """
    written = reference.removeprefix(HF)
    path = path_to(written) if written else None
    if path is None and (not written or written.startswith((".", "/", "~", "$")) or written.count("/") > 1):
        raise UserError(f"there is no folder {told(written)} of a model, as '{HF}' wants to have one.")
    if path is None:
        name = written.partition("@")[0]
        try:
            commit, folder = _snapshot(written, (CONFIG, ADAPTER, *TOKENIZER_FILES))
        except UserError as error:
            raise UserError(f"there is no folder {quoted(written)} here, and {error}") from error
        _refuse_adapter(folder, HF + name)
        return Source(f"{HF}{name}@{commit}", HF + name, folder, None)
    folder = path.resolve()
    if not folder.is_dir():
        raise UserError(f"'{path}' is a file: name the folder of the model behind '{HF}'.")
    _refuse_adapter(folder, HF + folder.name)
    if not (folder / CONFIG).is_file():
        raise UserError(f"'{path}' holds no model of transformers: there is no {CONFIG} in it.")
    label = HF + folder.name
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return Source(
        HF + str(folder), label, folder, _digest([folder / CONFIG, *tokenizer, *weight_files(folder, label)])
    )


def weight_files(folder: Path, label: str) -> list[Path]:
    """The files of the weights in a folder.

    Raises:
        UserError: there are none.
    """
    index = folder / INDEX
    # Where both lie there, transformers reads the single file.
    if index.is_file() and not (folder / WEIGHTS).is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
            if not names or any(Path(name).name != name for name in names):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"'{index}' is no index of weights.") from error
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        reason = f"'{label}' has no weights as safetensors: '{missing[0]}' is not in its folder"
        other = next(folder.glob("pytorch_model*.bin"), None)
        saved = "" if other is None else f"; transformers, which reads '{other.name}', saves it as such"
        raise UserError(f"{reason}{saved}.")
    return [folder / name for name in names]


def _refuse_adapter(folder: Path, label: str) -> None:
    """
    Raises:
        UserError: there is an adapter in a folder, which transformers would put on top of a model.
    """
    if (folder / ADAPTER).is_file():
        raise UserError(
            f"'{label}' holds an adapter ({ADAPTER}), and models here have none: merge it into its model by "
            "PEFT's 'merge_and_unload', and save that."
        )


def _digest(files: Sequence[Path]) -> str:
    """Stands for what is in files; it is remembered until one of them changes, however large they are."""
    contents = raw_contents(files)
    return digest([[file.name, content.sha256] for file, content in zip(files, contents, strict=True)])


@functools.cache
def _snapshot(name: str, patterns: tuple[str, ...]) -> tuple[str, Path]:
    """A commit of a repository of the hub, and the folder with those of its files that are asked for; the
    same one as long as this process lives."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise UserError(f"the model '{HF}{name}' cannot be had from the hub: {reason}.") from error
    return folder.name, folder
