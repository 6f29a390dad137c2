"""Language modelling: next-token prediction on real text, inside and far outside the trained extent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from pebench.data.drawn import Choice, where_limited
from pebench.data.left_out import noted
from pebench.data.needed import Needed
from pebench.data.stretches import Stretch, spread
from pebench.data.text import TextSource, load_corpus
from pebench.data.tokenization import TokenizerChoice, load_tokenizer
from pebench.data.tokenizer_file import TOKENIZER_FILE, read_tokenizer
from pebench.data.tokens import TokenStream, token_stream
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation, PositionEncoding, Table, grid, tabulate
from pebench.randomness import generator
from pebench.specification.options import Added
from pebench.specification.run_spec import Once
from pebench.store.example_scores import Examples, Ratio
from pebench.store.task_record import NON_OVERLAPPING, EvaluationData
from pebench.task import Batch, Evaluation, Metric
from pebench.task_bases.decoder_task import LONGEST, ExtentOptions, Length
from pebench.task_bases.text_task import TextTask

TOKENS_AT_ONCE = {"cpu": 16_384, "cuda": 65_536}
"""Tokens in a batch of evaluation by device, whatever the extent: memory is bounded, and what an encoding
makes of positions alone is made once for many windows."""

HELD_OUT = 65_536
"""Tokens that an encoding's own numbers are fitted to; one stretch of the extent at least."""

BYTES_OF_WORDS = 40
"""Bytes a word, above which the words of a text are none: Chinese and genomes have no spaces."""

Protocol = Literal["non-overlapping", "sliding", "fixed-tail"]


class LanguageModelingOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        data: `python-docs`, a path, or a dataset; see `pebench.data.text`.
        tokenizer: `bytes`, a trained BPE, GPT-2's, or a file; see `pebench.data.tokenization`.
        evaluate: extents to evaluate at; by default 1, 2, 4 and 8 times the trained one.
        split: what is evaluated on.
        protocols: non-overlapping windows score every token once; sliding windows score the last tokens of
            windows that advance by the stride; the fixed tail scores the same tokens under every extent.
        stride: of sliding windows, by default half of the extent.
        tail: tokens of the fixed tail, by default 256, or the smallest extent if that is less.
        tokens: how many tokens of the split to evaluate on; by default all.
        choice: which tokens these are. They are those of stretches of the largest extent that are spread over
            all documents of the split, drawn once for all runs and recorded with the scores; or the first of
            the split, as in runs from before there was the choice.
        offsets: positions at which the non-overlapping windows of the trained extent begin as well, which has
            to be among those to evaluate at. Only the places change, so that an encoding of distances scores
            the same at all of them.
    """

    times: ClassVar[tuple[int, ...]] = (1, 2, 4, 8)

    data: TextSource = Field(default_factory=lambda: TextSource.model_validate("python-docs"))
    tokenizer: TokenizerChoice = Field(default_factory=lambda: TokenizerChoice.model_validate("bytes"))
    extent: Length = 128
    split: Literal["validation", "test"] = "validation"
    protocols: Annotated[tuple[Protocol, ...], Once] = ("non-overlapping", "sliding", "fixed-tail")
    stride: Annotated[int, Field(ge=1)] | None = None
    tail: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=2)] | None = None
    choice: Annotated[Choice, Added(before="beginning")] = "spread"
    offsets: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Once, Added(before=[])] = ()

    _settled = model_validator(mode="before")(where_limited("tokens"))

    @model_validator(mode="after")
    def _fits(self) -> LanguageModelingOptions:
        shortest = min(self.extents)
        if self.tail is not None and self.tail > shortest:
            raise ValueError(f"a tail of {self.tail} tokens is longer than the smallest extent, {shortest}")
        if self.stride is not None and self.stride > shortest:
            raise ValueError(
                f"a stride of {self.stride} tokens is longer than the smallest extent, {shortest}"
            )
        if not self.protocols:
            raise ValueError("at least one protocol is needed")
        if self.offsets and self.extent not in self.extents:
            raise ValueError(
                f"'offsets' are read at the trained extent, which 'evaluate' lacks: add {self.extent} to it"
            )
        if self.offsets and max(self.offsets) > LONGEST - self.extent:
            raise ValueError(
                f"positions are told apart up to {LONGEST} in float32, so that an offset is "
                f"{LONGEST - self.extent} at the most, not {max(self.offsets)}"
            )
        return self

    @property
    def tail_tokens(self) -> int:
        """Tokens of the fixed tail."""
        return self.tail or min(256, *self.extents)


class _Window(NamedTuple):
    """A stretch of the stream that the model reads, and which of its predictions count.

    Attributes:
        start, stop: the tokens read; the targets are one further on.
        scored: how many of the targets count, the last ones.
        stretch: where the stretch of text begins that it is of, no longer than the largest extent.
    """

    start: int
    stop: int
    scored: int
    stretch: int


@dataclass
class _Part:
    """Scored targets of one document in one stretch: their number, their bytes, and their loss in nats."""

    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0


_Parts = dict[tuple[int, int], _Part]
"""By the number of the document and the begin of the stretch."""


class LanguageModeling(TextTask[LanguageModelingOptions]):
    """A causal decoder on one contiguous stream of tokens a split.

    Beyond the trained extent `alibi` must have no more bits per byte than at it, as in ``novels-trained``,
    and `none` must have more. Of its `offsets`: `rope` must score the same at all of them, and `sinusoidal`,
    beyond what it was trained on, must not.
    """

    item = "tokens"
    holds_out = True
    vocabulary = "tokenizer"
    Options = LanguageModelingOptions

    def __init__(self, options: LanguageModelingOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._streams: dict[str, TokenStream] = {}
        self._spread: list[Stretch] = []
        self._held_out: TokenStream | None = None

    def evaluation_data(self) -> EvaluationData:
        """The data of its options."""
        source, split = self.options.data, self.options.split
        return EvaluationData(
            names=source.known_as,
            paths=source.read_from(split),
            split=split,
            whole=self.options.tokens is None,
            unsaid=NON_OVERLAPPING,
        )

    def metrics(self) -> tuple[Metric, ...]:
        """Bits per byte and perplexity under each protocol asked for; word perplexity where every token is
        scored and the text has words."""
        found = []
        for protocol in self.options.protocols:
            suffix = self._suffix(protocol)
            if self._tells_bytes(protocol):
                found.append(Metric(f"bits-per-byte{suffix}", "bits/byte", False))
            found.append(Metric(f"perplexity{suffix}", "per token", False))
            if protocol == "non-overlapping" and (not self._streams or self._has_words):
                found.append(Metric("word-perplexity", "per word", False))
        for offset in self.options.offsets:
            found.append(Metric(f"bits-per-byte-offset-{offset}", "bits/byte", False))
            found.append(Metric(f"perplexity-offset-{offset}", "per token", False))
        return tuple(found)

    @property
    def _splits(self) -> tuple[str, ...]:
        """The splits that are read."""
        return ("train", self.options.split) if self.trains else (self.options.split,)

    def needed(self) -> tuple[Needed, ...]:
        """The files of the text and of the tokenizer."""
        values = self.options.model_dump(mode="json", include={"data", "tokenizer"})
        return (
            Needed(look="pebench.data.tokenization:check_tokenizer", at={"choice": values["tokenizer"]}),
            Needed(
                look="pebench.data.text:check_text", at={"source": values["data"], "splits": self._splits}
            ),
        )

    def inherit(self, folder: Path) -> None:
        """Takes over the tokenizer, unless another than bytes is asked for.

        Raises:
            UserError: it cannot be read.
        """
        self._inherited = read_tokenizer(folder / TOKENIZER_FILE)

    def prepare(self) -> dict[str, str]:
        """Reads, tokenizes and caches the text.

        Raises:
            UserError: it is not there, or too short for the extents.
        """
        corpus = load_corpus(self.options.data)
        taken_over = self._inherited if self.options.tokenizer.name == "bytes" else None
        self._tokenizer = taken_over or load_tokenizer(self.options.tokenizer, corpus)
        self._streams = {split: token_stream(corpus, self._tokenizer, split) for split in self._splits}
        needed = {"train": self.options.extent, self.options.split: max(self.options.extents)}
        for split, stream in self._streams.items():
            self._require(len(stream), split, needed[split])
        fingerprints = {split: stream.fingerprint for split, stream in self._streams.items()}
        return {"tokenizer": self._tokenizer.fingerprint, **fingerprints, **noted(corpus.left_out)}

    @staticmethod
    def _require(tokens: int, split: str, extent: int) -> None:
        if tokens <= extent:
            raise UserError(f"the {split} split has {tokens} tokens, too few for an extent of {extent}.")

    def restore(self, folder: Path) -> dict[str, str]:
        """Reads the tokenizer; where a run has none, for it is older than the file, gets it from the data."""
        if not (folder / TOKENIZER_FILE).exists():
            return self.prepare()
        return super().restore(folder)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """(B, extent + 1) tokens from random places of the stream."""
        tokens, length = self._streams[split].tokens, self.options.extent + 1
        places = torch.randint(
            len(tokens) - length + 1, (size,), generator=generator(seed, "batch", split, step)
        )
        return {"tokens": _stack(tokens, [(int(place), int(place) + length) for place in places])}

    def weight(self, batch: Batch) -> float:
        """Predicted tokens."""
        rows, length = batch["tokens"].shape
        return float(rows * (length - 1))

    def items(self, batch: Batch) -> int:
        """Tokens read."""
        return int(self.weight(batch))

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum of the negative log-likelihoods in nats."""
        assert isinstance(model, Decoder)
        tokens = batch["tokens"]
        hidden = model(tokens[:, :-1], table)
        return model.losses(hidden, tokens[:, 1:]).sum()

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Every protocol asked for at one extent."""
        assert isinstance(model, Decoder)
        (extent,) = reach.extent
        device = next(model.parameters()).device
        table = tabulate(model.encoding, grid(reach.extent), reach, device)
        asked = {
            self._suffix(protocol): list(self._windows(protocol, extent))
            for protocol in self.options.protocols
        }
        scores: dict[str, float] = {}
        examples = []

        def judge(asked: Mapping[str, list[_Window]], table: Table) -> int:
            parts = self._score(model, table, asked)
            for suffix, windows in asked.items():
                found, further = self._judged(suffix, windows, parts[suffix])
                scores.update(found.scores() | further)
                examples.append(found)
            return sum(stop - start for start, stop in _places(asked))

        items = judge(asked, table)
        offsets = self._offsets(model.encoding, extent)
        windows = list(self._windows("non-overlapping", extent)) if offsets else []
        for offset in offsets:
            there = reach._replace(extent=(offset + extent,))
            moved = tabulate(model.encoding, grid(reach.extent) + offset, there, device)
            items += judge({f"-offset-{offset}": windows}, moved)
        return Evaluation(scores, items, tuple(examples))

    def hold_out(self) -> None:
        """Reads the split that is neither trained nor evaluated on.

        Raises:
            UserError: there is none, or it is too short for the extents.
        """
        assert self._tokenizer is not None, "prepare() comes first"
        split = "test" if self.options.split == "validation" else "validation"
        self._held_out = token_stream(load_corpus(self.options.data), self._tokenizer, split)
        self._require(len(self._held_out), split, max(self.options.extents))

    def held_out_loss(self, model: nn.Module, reach: Extrapolation) -> float:
        """Nats a token, in stretches of the extent that are spread over the documents."""
        assert isinstance(model, Decoder)
        assert self._held_out is not None, "hold_out() comes first"
        (extent,) = reach.extent
        tokens, device = self._held_out.tokens, next(model.parameters()).device
        count = max(1, min(HELD_OUT, len(tokens) - 1) // extent) * extent
        stretches = spread(self._held_out.documents.tolist(), len(tokens), count, extent)
        table = tabulate(model.encoding, grid(reach.extent).to(device), reach)
        nats = 0.0
        places = [(start, start + extent) for start, _ in stretches]
        for group in _groups(places, TOKENS_AT_ONCE[device.type]):
            block = _stack(tokens, [(start, stop + 1) for start, stop in group]).to(device)
            nats += float(model.losses(model(block[:, :-1], table), block[:, 1:]).double().sum())
        return nats / count

    def _offsets(self, encoding: PositionEncoding, extent: int) -> list[int]:
        """The offsets that an encoding can serve, at the trained extent alone."""
        if extent != self.options.extent:
            return []
        limit = encoding.limit()
        return [offset for offset in self.options.offsets if limit is None or offset + extent <= limit]

    def _stretches(self) -> list[Stretch]:
        """The stretches of the stream that are evaluated, in its order."""
        stream, longest = self._evaluated, max(self.options.extents)
        targets = len(stream.tokens) - 1
        limit = min(targets, self.options.tokens or targets)
        if self.options.choice == "beginning" or limit == targets:
            return [Stretch(0, limit)]
        if not self._spread:
            self._spread = spread(stream.documents.tolist(), len(stream.tokens), limit, longest)
        return self._spread

    def _windows(self, protocol: Protocol, extent: int) -> Iterator[_Window]:
        """The windows of a protocol, in the order of the stream."""
        stretches, longest = self._stretches(), max(self.options.extents)
        for number, (begin, length) in enumerate(stretches):
            if protocol == "fixed-tail":
                # There is one at least, however few tokens are asked for.
                least = longest if number == 0 else 0
                begin = min(begin, len(self._evaluated.tokens) - 1 - longest)
                for end in range(begin + longest, begin + max(length, least) + 1, longest):
                    yield _Window(end - extent, end, self.options.tail_tokens, end - longest)
                continue
            stride = extent if protocol == "non-overlapping" else self.options.stride or extent // 2
            limit = begin + length
            yield _Window(begin, min(begin + extent, limit), min(extent, length), begin)
            for end in range(begin + extent + stride, limit + stride, stride):
                done, stop = end - stride, min(end, limit)
                stretch = done - (done - begin) % longest
                yield _Window(end - extent, stop, stop - done, stretch)

    def _score(self, model: Decoder, table: Table, asked: Mapping[str, list[_Window]]) -> dict[str, _Parts]:
        """The scored targets of all windows of each protocol. What several protocols read is read once."""
        tokens, documents = self._evaluated.tokens, self._evaluated.documents
        lengths = None if self._tokenizer is None else self._tokenizer.byte_lengths
        found: dict[str, _Parts] = {suffix: defaultdict(_Part) for suffix in asked}
        places = _places(asked)
        device = next(model.parameters()).device
        for group in _groups(places, TOKENS_AT_ONCE[device.type]):
            (start, stop), *_ = group
            block = _stack(tokens, [(start, stop + 1) for start, stop in group]).to(device)
            part = _leading(table, stop - start)
            losses = model.losses(model(block[:, :-1], part), block[:, 1:])
            for place, row in zip(group, losses.double().cpu().numpy(), strict=True):
                for suffix, window in places[place]:
                    for first, last, document in _by_document(window, documents):
                        of = found[suffix][document, window.stretch]
                        of.tokens += last - first
                        of.bytes += 0 if lengths is None else int(lengths[tokens[first:last]].sum())
                        of.nats += float(row[first - window.start - 1 : last - window.start - 1].sum())
        return found

    def _judged(
        self, suffix: str, windows: list[_Window], parts: _Parts
    ) -> tuple[Examples, dict[str, float]]:
        """The losses by document, and the scores that are no sums over documents."""
        stream = self._evaluated
        documents, stretches = (tuple(keys) for keys in zip(*sorted(parts), strict=True))
        of = [parts[key] for key in sorted(parts)]
        tokens, sizes, nats = (tuple(getattr(p, name) for p in of) for name in ("tokens", "bytes", "nats"))
        whole = sum(tokens) == len(stream.tokens) - 1
        ratios = [
            Ratio(metric=f"perplexity{suffix}", over="nats", under="tokens", form="exponential"),
            Ratio(metric=f"bits-per-byte{suffix}", over="nats", under="bytes", form="bits"),
        ]
        further = {}
        if not sum(sizes) or (whole and sum(sizes) != stream.bytes):
            # The tokenizer cannot tell how many bytes a token stands for.
            (_, bits) = ratios
            ratios.remove(bits)
            if whole and stream.bytes:
                further[bits.metric] = bits.value(math.fsum(nats), stream.bytes)
        if whole and not suffix and self._has_words:
            further["word-perplexity"] = _exp(math.fsum(nats) / stream.words)
        found = Examples(
            ratios=tuple(ratios),
            units=("document", "stretch"),
            columns={
                "document": documents,
                "stretch": stretches,
                "tokens": tokens,
                "bytes": sizes,
                "nats": nats,
            },
            counts={"tokens": sum(tokens), "windows": len(windows), "documents": len(set(documents))},
        )
        return found, further

    @property
    def _has_words(self) -> bool:
        return 0 < self._evaluated.bytes <= BYTES_OF_WORDS * self._evaluated.words

    def _tells_bytes(self, protocol: Protocol) -> bool:
        """Whether it is known how many bytes are scored: of each token, or as all of the split's."""
        if self._tokenizer is None or not self._streams or self._tokenizer.byte_lengths is not None:
            return True
        targets = len(self._evaluated.tokens) - 1
        return protocol != "fixed-tail" and (self.options.tokens or targets) >= targets

    @property
    def _evaluated(self) -> TokenStream:
        return self._streams[self.options.split]

    def _suffix(self, protocol: Protocol) -> str:
        match protocol:
            case "non-overlapping":
                return ""
            case "sliding":
                return f"-sliding-{self.options.stride or 'half'}"
            case "fixed-tail":
                return f"-tail-{self.options.tail_tokens}"


def _by_document(window: _Window, documents: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """The scored targets of a window: where those of one document begin and end, and its number. The end of a
    text is the document's that it ends."""
    first, end = window.stop + 1 - window.scored, window.stop + 1
    document = int(np.searchsorted(documents, first, "right")) - 1
    while first < end:
        last = min(end, int(documents[document + 1])) if document + 1 < len(documents) else end
        yield first, last, document
        first, document = last, document + 1


def _leading(table: Table, count: int) -> Table:
    """The table of the first positions."""
    return tree_map_only(Tensor, lambda leaf: leaf[:, :count], table)


def _stack(tokens: np.ndarray, places: list[tuple[int, int]]) -> Tensor:
    """(B, length) int64 tokens of stretches of equal length."""
    return torch.from_numpy(np.stack([tokens[start:stop] for start, stop in places]).astype(np.int64))


def _places(asked: Mapping[str, list[_Window]]) -> dict[tuple[int, int], list[tuple[str, _Window]]]:
    """Where windows begin and end, each place once with all the windows there and whose they are. Those of
    equal length stand together, the longest first, in the order of the stream."""
    found: dict[tuple[int, int], list[tuple[str, _Window]]] = {}
    for suffix, windows in asked.items():
        for window in windows:
            found.setdefault((window.start, window.stop), []).append((suffix, window))
    return {place: found[place] for place in sorted(found, key=lambda place: (place[0] - place[1], place[0]))}


def _groups(places: Iterable[tuple[int, int]], tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Neighbouring places of equal length, as many as fit into a batch of so many tokens."""
    group: list[tuple[int, int]] = []
    for start, stop in places:
        length = stop - start
        full = group and (len(group) + 1) * length > tokens
        if group and (full or length != group[0][1] - group[0][0]):
            yield group
            group = []
        group.append((start, stop))
    if group:
        yield group


def _exp(nats: float) -> float:
    """A perplexity; infinite rather than an overflow."""
    return math.exp(nats) if nats < 700 else math.inf
