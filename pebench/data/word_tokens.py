"""A tokenizer for texts whose every word is known: a token is a word, a digit or marks, with the space
before it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pebench.data.cache import digest
from pebench.data.tokenization import END_OF_TEXT, LibraryTokenizer

_TOKEN = r" ?[A-Za-z]+| ?\d| ?[^\sA-Za-z\d]+|\s"
_UNKNOWN = "<unk>"


def word_tokenizer(texts: Iterable[str]) -> LibraryTokenizer:
    """The tokenizer whose vocabulary is what some texts hold, and the digits."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    found = {token for text in texts for token in re.findall(_TOKEN, text)}
    digits = {f"{space}{digit}" for space in ("", " ") for digit in range(10)}
    tokens = [END_OF_TEXT, _UNKNOWN, *sorted(found | digits)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([END_OF_TEXT, _UNKNOWN])
    return LibraryTokenizer(inner, END_OF_TEXT, digest(tokens))
