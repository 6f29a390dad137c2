"""The tokens of a split as one long stream on disk, mapped into memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pebench import atomic
from pebench.data.cache import digest, entry
from pebench.data.pieces import PIECE
from pebench.data.text import Corpus
from pebench.data.tokenization import Ids, Tokenizer
from pebench.machine.cores import cores

_FORMAT = 1
_AHEAD = 2
"""Groups of pieces for each core that are encoded before they are used: enough that no core waits."""

_Pieces = list[tuple[str, bool]]
"""Pieces of documents, each with whether it is a document's first."""


@dataclass(frozen=True)
class TokenStream:
    """The end of text, then each document followed by the end of text.

    Attributes:
        tokens: (N,) ids of 16 or 32 bits, on disk.
        bytes: of the text in UTF-8.
        words: of the text as WikiText counts them: what white space separates, and an end of line for each
            line.
        documents: (D,) where each document's first token stands.
        fingerprint: stands for the text and the tokenizer.
    """

    tokens: Ids
    bytes: int
    words: int
    documents: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        """N, tokens in all."""
        return len(self.tokens)


def token_stream(corpus: Corpus, tokenizer: Tokenizer, split: str) -> TokenStream:
    """The tokens of a split, encoded on first use and kept in the cache under what they are made of.

    Encodes a few pieces for each core at a time, so that memory does not grow with the text.

    Raises:
        UserError: the split is missing or empty, cannot be read or changed meanwhile, or the cache cannot be
            written.
    """
    text = corpus.fingerprint(split)
    fingerprint = digest([_FORMAT, text, tokenizer.fingerprint])

    def build(folder: Path) -> dict[str, Any]:
        metadata = _write(folder, corpus, tokenizer, split)
        corpus.check_unchanged(split, text)
        return metadata

    folder, metadata = entry("tokens", fingerprint, build)
    return TokenStream(
        tokens=np.memmap(folder / "tokens.bin", tokenizer.dtype, mode="r"),
        bytes=metadata["bytes"],
        words=metadata["words"],
        documents=np.load(folder / "documents.npy"),
        fingerprint=fingerprint,
    )


def _write(folder: Path, corpus: Corpus, tokenizer: Tokenizer, split: str) -> dict[str, Any]:
    starts: list[int] = []
    count = size = words = 0
    unfinished_line = False
    end = np.array([tokenizer.end_of_text], tokenizer.dtype)
    with atomic.replacing(folder / "tokens.bin") as temporary, temporary.open("wb") as file:
        for group, encoded in _encoded(_groups(corpus, split), tokenizer):
            for (piece, opens), ids in zip(group, encoded, strict=True):
                if opens:
                    words += unfinished_line
                    file.write(end.tobytes())
                    count += 1
                    starts.append(count)
                file.write(ids.tobytes())
                count += len(ids)
                size += len(piece.encode())
                words += len(piece.split()) + piece.count("\n")
                unfinished_line = not piece.endswith("\n")
        file.write(end.tobytes())
    with atomic.replacing(folder / "documents.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.array(starts, np.int64))
    return {"corpus": corpus.name, "split": split, "bytes": size, "words": words + unfinished_line}


def _encoded(groups: Iterator[_Pieces], tokenizer: Tokenizer) -> Iterator[tuple[_Pieces, list[Ids]]]:
    """Groups with the ids of their pieces. A thread for each core encodes those that follow while one is
    used: what divides many pieces among cores by itself, as the tokenizers library, keeps 16 of them half as
    busy."""
    count = cores()
    under_way: deque[tuple[_Pieces, Future[list[Ids]]]] = deque()
    with ThreadPoolExecutor(count) as encoders:
        for group in groups:
            begun = encoders.submit(tokenizer.encode_batch, [piece for piece, _ in group])
            under_way.append((group, begun))
            if len(under_way) > _AHEAD * count:
                first, ids = under_way.popleft()
                yield first, ids.result()
        for first, ids in under_way:
            yield first, ids.result()


def _groups(corpus: Corpus, split: str) -> Iterator[_Pieces]:
    """Pieces of documents in a row, as many characters together as one of a long document has: handing a
    short text to a thread takes longer than encoding it."""
    group: _Pieces = []
    characters = 0
    for document in corpus.pieces(split):
        for number, piece in enumerate(document):
            group.append((piece, number == 0))
            characters += len(piece)
            if characters >= PIECE:
                yield group
                group, characters = [], 0
    if group:
        yield group
