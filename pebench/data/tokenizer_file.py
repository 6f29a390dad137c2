"""A tokenizer in one file, so that a trained model can be used where the text that it came from is gone."""

from __future__ import annotations

import json
from pathlib import Path

from pebench import atomic
from pebench.data.tokenization import ByteTokenizer, LibraryTokenizer, Tokenizer, settle
from pebench.errors import UserError

TOKENIZER_FILE = "tokenizer.json"
"""Its name in the folder of a run."""


def write_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Writes all that `read_tokenizer` needs.

    Raises:
        OSError: the file cannot be written.
    """
    if isinstance(tokenizer, LibraryTokenizer):
        content = {
            "kind": "tokenizers",
            "end_of_text": tokenizer.end_of_text_name,
            "fingerprint": tokenizer.fingerprint,
            "vocabulary_size": tokenizer.vocabulary_size,
            "definition": tokenizer.definition(),
        }
    else:
        assert isinstance(tokenizer, ByteTokenizer)
        content = {"kind": "bytes"}
    atomic.write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that was written to a file.

    Raises:
        UserError: the file is not there or holds no tokenizer.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["kind"] == "bytes":
            return ByteTokenizer()
        from tokenizers import Tokenizer

        inner = Tokenizer.from_str(json.dumps(content["definition"]))
        settle(inner)
        # Files from before there were larger vocabularies than tokens say nothing of them.
        size = content.get("vocabulary_size")
        return LibraryTokenizer(inner, content["end_of_text"], content["fingerprint"], size)
    except OSError as error:
        raise UserError(f"the tokenizer file '{path}' cannot be read: {error.strerror}.") from error
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"'{path}' holds no tokenizer: {' '.join(str(error).split())}.") from error
