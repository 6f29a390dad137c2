"""A decoder as the Language Model Evaluation Harness (lm-eval, https://github.com/EleutherAI/lm-evaluation-harness)
sees it: text in, likelihoods and text out."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from pebench.data.tokenization import Tokenizer
from pebench.errors import UserError, unknown
from pebench.models.batching import TOKENS_AT_ONCE, batches
from pebench.models.decoder import Decoder
from pebench.models.generation import NoNumber, Stop, generate
from pebench.models.likelihood import Continuation, likelihoods
from pebench.position_encoding import Extrapolation

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names that lm-eval lets a task use for the most tokens of an answer."""

_USUAL_ANSWER = 8
"""An answer whose length its task leaves open gets what the text leaves of `max_length`, and this part of it
at the least."""


class _Prompt(NamedTuple):
    """A request to go on with a text.

    Attributes:
        tokens: of the text, cut at its beginning where it had to be.
        limit: of new tokens.
        until: what ends the new text.
        whole: whether the text is uncut and the answer has all the room that was asked for.
    """

    tokens: tuple[int, ...]
    limit: int
    until: tuple[str, ...]
    whole: bool


class DecoderLM(TemplateLM):  # type: ignore[misc] # the library has no types
    """A decoder and its tokenizer, under the interface of lm-eval.

    Requests are read whole, however far that is beyond the trained extent, unless `max_length` says
    otherwise. A request is served at an extent that depends on itself alone, never on what else is in its
    batch: the trained one times the smallest power of two that holds it.

    Attributes:
        model: the decoder.
        tokens_read: tokens of all requests so far, and of the answers.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        extent: int | None = None,
        extrapolation: str | None = None,
        rows_at_once: int | None = None,
        progress: bool = True,
    ) -> None:
        """
        Args:
            model: in evaluation mode. tokenizer: its own.
            max_length: cuts what comes before in longer requests, and is the window of rolling likelihoods,
                which is the trained extent otherwise. Of a text to go on with, half of it is kept at the
                least: an answer that a task wants longer is refused.
            extent: what the encoding is told to serve, by default `max_length`, or else the smallest
                multiple above.
            extrapolation: one of the encoding's ways past the trained extent, by default the one it prefers.
            rows_at_once: bounds a batch; by default its tokens are bounded alone.
            progress: whether to draw a progress bar.

        Raises:
            UserError: the encoding does not know the extrapolation or cannot serve the extent.
        """
        super().__init__()
        encoding = model.encoding
        if extrapolation is not None and extrapolation not in encoding.extrapolations:
            raise unknown("extrapolation", extrapolation, encoding.extrapolations, "this encoding")
        for name, value in (("max_length", max_length), ("extent", extent)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 2):
                raise UserError(f"{name} is a number of tokens, 2 at least, not {value!r}.")
        if max_length and extent and extent < max_length:
            raise UserError(f"an extent of {extent} positions does not hold max_length={max_length} tokens.")
        self.model = model
        self._tokenizer = tokenizer
        self._device = next(model.parameters()).device
        self._max_length, self._extent = max_length, extent or max_length
        self._trained = model.geometry.extent[0]
        self._way = encoding.trained_with if extrapolation is None else Extrapolation((), extrapolation)
        self._rows = rows_at_once
        self._progress = progress
        self.tokens_read = 0
        if self._extent is not None:
            self.reach(self._extent)

    @property
    def eot_token_id(self) -> int:
        """The id between documents; an empty context becomes this one token."""
        return self._tokenizer.end_of_text

    @property
    def max_length(self) -> int:
        """Tokens of a window of rolling likelihoods."""
        return self._max_length or self._trained

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in lm-eval's own cache of prompts."""
        return f"pebench-{self._tokenizer.fingerprint}"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Refuses: no chat was trained on."""
        raise UserError("a model of pebench has no chat template: leave --apply_chat_template out.")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of a text."""
        ids: list[int] = self._tokenizer.encode(string).tolist()
        return ids

    @property
    def extrapolation(self) -> str:
        """The method past the trained extent, with its options."""
        return self._way.method

    def reach(self, length: int) -> Extrapolation:
        """How a request of so many tokens is served.

        Raises:
            UserError: it cannot be.
        """
        limit = self.model.encoding.limit()
        extent = self._extent
        if extent is None:
            extent = self._trained
            while extent < length:
                extent *= 2
            extent = extent if limit is None else max(min(extent, limit), length)
        elif extent < length:
            raise UserError(
                f"a request of {length} tokens does not fit into the extent={extent} that was asked for: "
                f"max_length={extent} would cut it."
            )
        if limit is not None and extent > limit:
            raise UserError(
                f"the encoding can name {limit} positions, and a request needs {extent}: max_length={limit} "
                "would cut it."
            )
        return self._way._replace(extent=(extent,))

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each request of a context and a continuation, the log-likelihood of the latter, and whether it
        is what greedy decoding gives."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm or not self._progress)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        asked: dict[int, Continuation] = {}
        for number, ((_, text), context, tokens) in enumerate(requests):
            # A merge across the border may leave the continuation no token of its own.
            tokens = tokens or self.tok_encode(text)
            if tokens:
                asked[number] = self._cut(context or [self.eot_token_id], tokens)
        for number, log, greedy in self._likelihoods(asked, "Running loglikelihood requests", disable_tqdm):
            _refuse_nan(log)
            found[number] = log, greedy
            self.cache_hook.add_partial("loglikelihood", requests[number][0], found[number])
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """For each request of a text, its log-likelihood after the end of another, in windows as lm-eval
        defines them: each token is predicted once, and the last window reaches back to be full."""
        asked: dict[int, Continuation] = {}
        document: list[int] = []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for pair in get_rolling_token_windows(tokens, self.eot_token_id, self.max_length, 1):
                context, rest = make_disjoint_window(pair)
                asked[len(document)] = Continuation(tuple(context), tuple(rest))
                document.append(number)
        totals = [0.0] * len(requests)
        missing: list[int] = [document.count(number) for number in range(len(requests))]
        for window, log, _ in self._likelihoods(asked, "Running rolling requests", disable_tqdm):
            number = document[window]
            _refuse_nan(log)
            totals[number] += log
            missing[number] -= 1
            if not missing[number]:
                args = requests[number].args
                self.cache_hook.add_partial("loglikelihood_rolling", args, totals[number])
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """For each request of a context and keywords, what greedy decoding adds, up to the first of the
        strings that end it.

        Raises:
            UserError: something other than greedy decoding is asked for, or an answer leaves less than half
                of `max_length` to its text.
            NoNumber: the model predicts none.
        """
        prompts = {number: self._prompt(*request.args) for number, request in enumerate(requests)}
        self._say_cuts(prompts)
        found = [""] * len(requests)
        with self._bar(len(requests), "Running generate_until requests", disable_tqdm) as bar:
            for reach, limit, until, numbers in self._alike(prompts):
                stop = Stop(frozenset([self.eot_token_id]), until, self._tokenizer.decode)
                texts = [prompts[number].tokens for number in numbers]
                for number, new in zip(numbers, generate(self.model, texts, reach, limit, stop), strict=True):
                    self.tokens_read += len(prompts[number].tokens) + len(new)
                    found[number] = stop.cut(self._tokenizer.decode(new))
                    self.cache_hook.add_partial("generate_until", requests[number].args, found[number])
                bar.update(len(numbers))
        return found

    def _cut(self, context: Sequence[int], tokens: Sequence[int]) -> Continuation:
        """As much of the context as `max_length` leaves."""
        if self._max_length is None:
            return Continuation(tuple(context), tuple(tokens))
        room = self._max_length + 1 - len(tokens)
        if room < 1:
            raise UserError(
                f"a continuation of {len(tokens)} tokens does not fit into max_length={self._max_length}."
            )
        return Continuation(tuple(context[-room:]), tuple(tokens))

    def _likelihoods(
        self, asked: dict[int, Continuation], what: str, quiet: bool
    ) -> Iterator[tuple[int, float, bool]]:
        """Numbers with their scores, as batches are done."""
        groups: dict[Extrapolation, list[int]] = defaultdict(list)
        for number, continuation in asked.items():
            groups[self.reach(continuation.read)].append(number)
        with self._bar(len(asked), what, quiet) as bar:
            for reach, numbers in groups.items():
                wanted = [asked[number] for number in numbers]
                self.tokens_read += sum(continuation.read for continuation in wanted)
                for place, score in likelihoods(self.model, wanted, reach, rows_at_once=self._rows):
                    bar.update()
                    yield numbers[place], score.log, score.greedy

    def _prompt(self, context: str, keywords: dict[str, Any]) -> _Prompt:
        """Demands of a request for a text."""
        asked: dict[str, Any] = dict(normalize_gen_kwargs(keywords))
        if asked.get("do_sample") or asked.get("num_beams", 1) != 1:
            raise UserError("pebench decodes greedily: ask for do_sample=False and no beams.")
        tokens = tuple(self.tok_encode(context)) or (self.eot_token_id,)
        limit = wanted = asked["max_gen_toks"]
        until = tuple(string for string in asked["until"] if string)
        most = self._max_length
        if most is None or len(tokens) + limit <= most:
            return _Prompt(tokens, limit, until, True)
        if any(keywords.get(name) is not None for name in _LENGTHS):
            if most - limit < min(len(tokens), most // 2):
                raise UserError(
                    f"an answer of {limit} tokens, as the task asks for, leaves {max(most - limit, 0)} of "
                    f"max_length={most} to a text of {len(tokens)}: a max_length of {2 * limit} or more "
                    "keeps half of it for the text."
                )
        else:
            limit = min(limit, max(most - len(tokens), -(-most // _USUAL_ANSWER)))
        kept = tokens[-(most - limit) :]
        return _Prompt(kept, limit, until, limit == wanted and len(kept) == len(tokens))

    def _say_cuts(self, prompts: dict[int, _Prompt]) -> None:
        cut = sum(not prompt.whole for prompt in prompts.values())
        if cut:
            logging.getLogger("pebench.lm-eval").warning(
                "%d of %d requests for a text do not fit into max_length=%d with their answers: the "
                "beginning of the text is cut, or the answer shortened.",
                cut,
                len(prompts),
                self._max_length,
            )

    def _alike(
        self, prompts: dict[int, _Prompt]
    ) -> Iterator[tuple[Extrapolation, int, tuple[str, ...], list[int]]]:
        """Batches of prompts that are served and ended alike, the longest first."""
        groups: dict[tuple[Extrapolation, int, tuple[str, ...]], list[int]] = defaultdict(list)
        for number, prompt in prompts.items():
            reach = self.reach(len(prompt.tokens) + prompt.limit)
            groups[reach, prompt.limit, prompt.until].append(number)
        for (reach, limit, until), numbers in groups.items():
            lengths = [len(prompts[number].tokens) + limit for number in numbers]
            for batch in batches(lengths, TOKENS_AT_ONCE, self._rows):
                yield reach, limit, until, [numbers[place] for place in batch]

    def _bar(self, total: int, what: str, quiet: bool) -> Any:
        return tqdm(total=total, desc=what, disable=quiet or not self._progress)


def _refuse_nan(log: float) -> None:
    """
    Raises:
        NoNumber: lm-eval would take a likelihood that is none for the answer that comes first.
    """
    if math.isnan(log):
        raise NoNumber
