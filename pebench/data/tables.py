"""Files that hold tables or tokenizers rather than text, and what to write for them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pebench.errors import UserError

_KINDS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""How the library calls a kind of file, by ending."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files that `datasets.Dataset.save_to_disk` writes beside its tables."""


def kind_of(name: str) -> str | None:
    """Format of files of that name as the library calls it, None for one that holds no table by its name."""
    path = Path(name.lower())
    if path.suffix in _COMPRESSED:
        path = path.with_suffix("")
    return _KINDS.get(path.suffix)


def is_table(name: str) -> bool:
    """Whether a file of that name holds a table."""
    return kind_of(name) is not None


def refuse_table(path: Path) -> None:
    """
    Raises:
        UserError: the file holds a table; the sentence says how to read it.
    """
    kind = kind_of(path.name)
    if kind is not None:
        raise UserError(
            f"'{path}' holds a table and no plain text: write {{dataset: {kind}, files: {{train: {path}}}, "
            "column: NAME, train: 'train[:90%]', validation: 'train[90%:]'}, or 'dataset: text' in its place "
            "to read it as it stands."
        )


def refuse_saved(root: Path, names: Collection[str]) -> None:
    """
    Raises:
        UserError: the folder is what `datasets` saved to disk; the sentence says how to read it.
    """
    if any(name in names for name in _SAVED):
        raise UserError(
            f"'{root}' is a set that the 'datasets' library saved: write {{dataset: {root}}}, with 'column' "
            "where its text has another name."
        )


GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
"""Vocabulary and merges of GPT-2, as OpenAI and as transformers call them."""


def is_gpt2(folder: Path) -> bool:
    """Whether a folder holds GPT-2's vocabulary and no file of the tokenizers library."""
    two = any((folder / vocabulary).exists() for vocabulary, _ in GPT2_FILES)
    return two and not (folder / "tokenizer.json").exists()


def refuse_tokenizer(root: Path, names: Collection[str]) -> None:
    """
    Args:
        root: a folder.
        names: of the files in it.

    Raises:
        UserError: they are a tokenizer, whose files would be read as text.
    """
    if any(set(pair) <= set(names) for pair in GPT2_FILES):
        raise UserError(f"'{root}' holds a tokenizer and no text: name it at 'tokenizer'.")
