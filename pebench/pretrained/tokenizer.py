"""The tokenizer of a published language model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pebench.data.cache import digest, entry
from pebench.data.tokenization import KNOWN_ENDS, LibraryTokenizer, settle
from pebench.data.tokenizer_file import TOKENIZER_FILE, write_tokenizer
from pebench.errors import UserError
from pebench.pretrained.source import TOKENIZER_CONFIG, TOKENIZER_FILES, Source

_FORMAT = 1

_SETTINGS = (TOKENIZER_CONFIG, "special_tokens_map.json")
"""Files that say how a tokenizer is used, and are none."""


def tokenizer_of(source: Source, config: Any) -> LibraryTokenizer:
    """The tokenizer in a model's folder, with as many ids as the model tells apart.

    Args:
        source: of the model. config: its configuration, as transformers reads it.

    Raises:
        UserError: there is none that can be used here.
    """
    inner = _library(source)
    content = inner.to_str()
    vocabulary: dict[str, int] = inner.get_vocab(with_added_tokens=True)
    if not vocabulary or max(vocabulary.values()) >= config.vocab_size:
        raise UserError(
            f"the tokenizer of '{source.label}' has ids up to {max(vocabulary.values(), default=-1)}, and "
            f"its model tells {config.vocab_size} apart."
        )
    settle(inner)
    end = _end_of_text(source, config, vocabulary)
    marks = [_FORMAT, hashlib.sha256(content.encode()).hexdigest(), end, config.vocab_size]
    return LibraryTokenizer(inner, end, digest(marks), config.vocab_size)


def tokenizer_folder(source: Source, config: Any) -> Path:
    """A folder of the cache with the tokenizer as runs keep theirs.

    Raises:
        UserError: see `tokenizer_of`.
    """
    tokenizer = tokenizer_of(source, config)

    def write(folder: Path) -> dict[str, Any]:
        write_tokenizer(folder / TOKENIZER_FILE, tokenizer)
        return {"model": source.label}

    return entry("pretrained-tokenizers", tokenizer.fingerprint, write).folder


def _library(source: Source) -> Any:
    """The object of the `tokenizers` library: from its own file, or as transformers makes one of others."""
    from tokenizers import Tokenizer

    file = source.folder / TOKENIZER_FILES[0]
    if not any((source.folder / name).is_file() for name in TOKENIZER_FILES if name not in _SETTINGS):
        raise UserError(f"'{source.label}' has no tokenizer: there is no {file.name} in its folder.")
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(source.folder), local_files_only=True).backend_tokenizer
    except Exception as error:  # the libraries raise bare exceptions
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        other = "" if file.is_file() else f", and there is no {file.name}, which is read as it is"
        raise UserError(f"the tokenizer of '{source.label}' cannot be read: {reason}{other}.") from error


def _end_of_text(source: Source, config: Any, vocabulary: dict[str, int]) -> str:
    """The token between documents: the one that the tokenizer's settings call so, or the model's."""
    try:
        written = json.loads((source.folder / TOKENIZER_CONFIG).read_bytes()).get("eos_token")
    except (OSError, ValueError, AttributeError):
        written = None
    named = written.get("content") if isinstance(written, dict) else written
    ids = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    by_id = {number: token for token, number in vocabulary.items()}
    for token in (named, *(by_id.get(number) for number in ids), *KNOWN_ENDS):
        if token in vocabulary:
            return str(token)
    raise UserError(f"the tokenizer of '{source.label}' has no token that ends a text.")
