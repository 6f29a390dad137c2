"""The small Transformer that reads a position's digits.

Shapes: U positions, A axes, S digits of all axes together, W width of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.machine.to_device import send

ROWS_AT_ONCE = {"cpu": 512}
"""Tokens whose keys and values are gathered, or whose perceptrons are computed, at a time, by device: what
belongs to them stays in a CPU's cache. Elsewhere `MANY_ROWS`."""

ALIGNED = 64
"""Rows of a factor of a product on CUDA are a multiple of it: others take kernels of older cards."""

MANY_ROWS = 4096
"""Bounds memory at long extents."""


class Strings(NamedTuple):
    """Digit strings to be read whole, each by itself; on the device of the encoder.

    Attributes:
        digits: (U, S). visible: (U, 1, S + 1, S + 1) bool, which token of a string sees which, the read-out
            token coming last; None where the order alone decides, or nothing does.
    """

    digits: Tensor
    visible: Tensor | None


class Tokens(NamedTuple):
    """The distinct prefixes of U digit strings, then their U read-out tokens; on the device of the encoder.

    Attributes:
        digit: (M,) last digit of each prefix. place: (M,) the place it stands at.
        seen: (M + U, S + 1) numbers of the tokens that each may see, by place.
        visible: (M + U, S + 1) bool, those that it does.
    """

    digit: Tensor
    place: Tensor
    seen: Tensor
    visible: Tensor


def to_digits(positions: Tensor, base: int, digits: int) -> Tensor:
    """(…, A·digits) digits of (…, A) positions, most significant first, left-padded with zeros, first axis
    first."""
    powers = base ** torch.arange(digits - 1, -1, -1, device=positions.device)
    return (positions[..., None] // powers % base).flatten(-2)


def check_positions(positions: Tensor, base: int, digits: int) -> None:
    """Makes sure that positions can be written.

    Raises:
        ValueError: a position is negative or has more digits.
    """
    if not positions.numel():
        return
    least, most = int(positions.min()), int(positions.max())
    if least < 0 or most >= base**digits:
        worst = least if least < 0 else most
        raise ValueError(f"position {worst} cannot be written with {digits} digits of base {base}")


def distinct(positions: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """The distinct ones among positions, and which of them each is.

    Args:
        positions: (U, A) integers from 0 up to `places`, exclusive.
        places: how many positions an axis has.

    Returns:
        (V, A) positions, and (U,) numbers of rows among them.
    """
    axes = positions.shape[-1]
    powers = places ** torch.arange(axes - 1, -1, -1, device=positions.device)
    # Rows as single numbers: PyTorch's search for distinct rows is many times as slow.
    codes, number = torch.unique((positions * powers).sum(-1), return_inverse=True)
    return torch.stack(torch.unravel_index(codes, (places,) * axes), dim=-1), number


def from_digits(string: Tensor, base: int, digits: int) -> Tensor:
    """(…, A) positions of (…, A·digits) digits: the inverse of `to_digits`."""
    powers = base ** torch.arange(digits - 1, -1, -1, device=string.device)
    positions: Tensor = (string.unflatten(-1, (-1, digits)) * powers).sum(-1)
    return positions


class Prefixes(NamedTuple):
    """The distinct prefixes of some digit strings. In a causal encoder the state at a digit depends on the
    prefix up to it alone, so that each prefix has to be computed once, however many strings begin with it.

    Attributes:
        digit: (M,) last digit of each prefix. place: (M,) the place it stands at.
        ancestors: (M, S) the prefixes that each can see, by place; its own at its own place, anything after
            it.
        leaves: (U,) the prefix that is a whole string, for each string.
        padding: (M,) whether the prefix is nothing but padding zeros.
    """

    digit: Tensor
    place: Tensor
    ancestors: Tensor
    leaves: Tensor
    padding: Tensor


def prefixes(string: Tensor, base: int, digits: int) -> Prefixes:
    """The prefixes of (U, S) digit strings."""
    length = string.shape[1]
    code = torch.zeros_like(string[:, 0])
    digit, place, ancestors, padding = [], [], [], []
    # The empty prefix comes before all others.
    parents, shorter = string.new_zeros(1, length), string.new_zeros(1)
    leaves = code
    first = 0
    for at in range(length):
        code = code * base + string[:, at]
        codes, leaves = torch.unique(code, return_inverse=True)
        own = torch.arange(first, first + len(codes), device=string.device)
        parents = parents[torch.searchsorted(shorter, codes // base)].clone()
        parents[:, at] = own
        shorter = codes
        digit.append(codes % base)
        place.append(torch.full_like(codes, at))
        ancestors.append(parents)
        # The last digit of an axis is never padding: position zero is written with a zero that counts.
        inside = base ** (at % digits + 1)
        padding.append((codes % inside == 0) & (at % digits != digits - 1))
        first += len(codes)
    leaves = leaves + first - len(parents)
    return Prefixes(torch.cat(digit), torch.cat(place), torch.cat(ancestors), leaves, torch.cat(padding))


class EncoderBlock(nn.Module):
    """Pre-LayerNorm attention and perceptron; dropout on both residual branches, none on attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.input = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (…, heads, W/heads)."""
        q, k, v = (
            self.input(self.attention_norm(x)).unflatten(-1, (3 * self.heads, -1)).split(self.heads, dim=-2)
        )
        return q, k, v

    def project_last(self, x: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of all, and queries of those alone whose outcome is of use."""
        width = x.shape[-1]
        weights, biases = (
            self.input.weight.split((width, 2 * width)),
            self.input.bias.split((width, 2 * width)),
        )
        q = F.linear(self.attention_norm(asking), weights[0], biases[0])
        k, v = F.linear(self.attention_norm(x), weights[1], biases[1]).chunk(2, dim=-1)
        q, k, v = (each.unflatten(-1, (self.heads, -1)) for each in (q, k, v))
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Both residual branches, from the (…, heads, W/heads) attended values."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return self._finish(x, attended)
        rows = ROWS_AT_ONCE["cpu"]
        parts = zip(x.split(rows), attended.split(rows), strict=True)
        return torch.cat([self._finish(*part) for part in parts])

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.dropout(self.output(attended.flatten(-2)))
        inner = F.gelu(self.expand(self.perceptron_norm(x)), approximate="tanh")
        out: Tensor = x + self.dropout(self.contract(inner))
        return out


class DigitEncoder(nn.Module):
    """From digit strings to vectors: embeddings of digit and place, a read-out token that comes last,
    Transformer blocks, a norm, and one linear map of the read-out token's state."""

    def __init__(
        self,
        *,
        axes: int,
        base: int,
        digits: int,
        width: int,
        heads: int,
        layers: int,
        out: int,
        dropout: float,
        bidirectional: bool,
        mask_padding: bool,
    ) -> None:
        """
        Args:
            axes: of a position. base: of the digits. digits: of each axis.
            width: W. heads: of each block. layers: how many blocks. out: channels of the vectors.
            dropout: on both residual branches.
            bidirectional: whether digits see those after them; by default they see those before.
            mask_padding: whether padding zeros are hidden from the other tokens.
        """
        super().__init__()
        self.base = base
        self.digits = digits
        self.bidirectional = bidirectional
        self.mask_padding = mask_padding
        self.value = nn.Embedding(base, width)
        self.place = nn.Embedding(axes * digits, width)
        self.axis = nn.Parameter(torch.empty(axes, width)) if axes > 1 else None
        self.readout = nn.Parameter(torch.empty(width))
        blocks = nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(layers))
        self.blocks = cast("Sequence[EncoderBlock]", blocks)
        self.final_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)
        self.apply(_initialise)
        for vector in (self.axis, self.readout):
            if vector is not None:
                nn.init.normal_(vector, std=0.02)

    def spell(self, positions: Tensor, share: bool) -> Strings | Tokens:
        """Digits of some positions to be read, sent to the encoder's device.

        Args:
            positions: (U, A) integers that its digits can write, on the CPU: which prefixes there are is
                found out there, so that the device is never waited for.
            share: read each distinct prefix once. The outcome is the same, unless dropout is on: strings
                with a common prefix then share its mask too. Of no use to a bidirectional encoder, which
                ignores it.
        """
        string = to_digits(positions, self.base, self.digits)
        device = self.readout.device
        if share and not self.bidirectional:
            return Tokens(*(send(part, device) for part in self._tokens(string)))
        visible = self._visible(string)
        return Strings(send(string, device), None if visible is None else send(visible, device))

    def forward(self, spelt: Strings | Tokens) -> Tensor:
        """(U, out) vectors of what `spell` gives, in the dtype of the weights under autocast too."""
        state = self._read_tokens(spelt) if isinstance(spelt, Tokens) else self._read_strings(spelt)
        vectors: Tensor = self.out(self.final_norm(state))
        return vectors.to(self.readout.dtype)

    def _kinds(self) -> Tensor:
        """(S·base + 1, W) what tokens are before the first layer: a digit at a place, places first, or the
        read-out token."""
        embedded = self.value.weight + self.place.weight[:, None]
        if self.axis is not None:
            embedded = embedded + self.axis.repeat_interleave(self.digits, dim=0)[:, None]
        return torch.cat((embedded.flatten(0, 1), self.readout.reshape(1, -1)))

    def _read_strings(self, strings: Strings) -> Tensor:
        """As tokens are of few kinds, the first layer's queries, keys and values are computed once a kind."""
        string, visible = strings
        length = string.shape[1]
        kinds = self._kinds()
        places = torch.arange(0, length * self.base, self.base, device=string.device)
        choice = _Choice(F.pad(string + places, (0, 1), value=len(kinds) - 1), len(kinds))
        x = choice(kinds)
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1
            if number == 0:
                q, k, v = choice(torch.cat(block.project(kinds), dim=1)).split(block.heads, dim=-2)
                q = q[:, -1:] if last else q
            else:
                q, k, v = block.project_last(x, x[:, -1:]) if last else block.project(x)
            mask = visible
            if last:
                x, mask = x[:, -1:], None if visible is None else visible[:, :, -1:]
            x = block.finish(x, _attend_whole(q, k, v, mask, causal=not (last or self.bidirectional)))
        return x[:, 0]

    def _read_tokens(self, tokens: Tokens) -> Tensor:
        """The logits of the first layer, too, are computed once for each two kinds."""
        digit, place, seen, visible = tokens
        count, prefixes = len(seen), len(digit)
        kinds = self._kinds()
        kind = F.pad(place * self.base + digit, (0, count - prefixes), value=len(kinds) - 1)
        read = slice(prefixes, None)
        x = kinds.index_select(0, kind)
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1
            rows = read if last else slice(None)
            if number == 0:
                attended = _attend_kinds(*block.project(kinds), kind[rows], kind[seen[rows]], visible[rows])
            else:
                q, k, v = block.project_last(x, x[read]) if last else block.project(x)
                attended = _attend(q, k, v, seen[rows], visible[rows])
            x = block.finish(x[rows], attended)
        return x

    def _visible(self, string: Tensor) -> Tensor | None:
        """(U, 1, S + 1, S + 1) bool, None where padding is seen like all else."""
        if not self.mask_padding:
            return None
        length = string.shape[1]
        every = torch.ones(length + 1, length + 1, dtype=torch.bool, device=string.device)
        leading = string.unflatten(-1, (-1, self.digits)).cumsum(-1) == 0
        leading[..., -1] = False
        shown = F.pad(~leading.flatten(-2), (0, 1), value=True)[:, None, None]
        order = every if self.bidirectional else every.tril()
        return order & (shown | torch.eye(length + 1, dtype=torch.bool, device=string.device))

    def _tokens(self, string: Tensor) -> Tokens:
        """Those of (U, S) digit strings, on the CPU."""
        tree = prefixes(string, self.base, self.digits)
        count, length = string.shape
        total = len(tree.digit) + count
        own = torch.arange(len(tree.digit), total)
        leaf = tree.ancestors[tree.leaves]
        seen = torch.cat((F.pad(tree.ancestors, (0, 1)), torch.cat((leaf, own[:, None]), dim=1)))
        last = torch.cat((tree.place, torch.full_like(own, length)))
        visible = torch.arange(length + 1) <= last[:, None]
        if self.mask_padding:
            hidden = F.pad(tree.padding, (0, count))[seen]
            visible &= ~hidden | (seen == torch.arange(total)[:, None])
        return Tokens(tree.digit, tree.place, seen, visible)


class _Choice:
    """Takes rows out of few. On CUDA as a product, whose gradient adds up in one order and is soon done: that
    of an index would wait for one row after another."""

    def __init__(self, number: Tensor, rows: int) -> None:
        self.number = number
        self.spare = -rows % ALIGNED
        every = torch.arange(rows + self.spare, device=number.device)
        self.product = number[..., None] == every if number.device.type == "cuda" else None

    def __call__(self, rows: Tensor) -> Tensor:
        """(…, *) for the numbers (…) of (rows, *)."""
        if self.product is None:
            return _gather(rows, self.number)
        with torch.autocast(rows.device.type, enabled=False):
            table = F.pad(rows.flatten(1), (0, 0, 0, self.spare))
            chosen: Tensor = (self.product.to(rows.dtype) @ table).unflatten(-1, rows.shape[1:])
            return chosen


def in_parts(read: Callable[[Strings], Tensor], counts: Sequence[int]) -> Callable[[Strings], Tensor]:
    """Reads strings a few fixed numbers at a time, the last part filled up: one compiled form for each serves
    all numbers. Those that fit into one part are read in the smallest that they fit into, others in the
    largest."""
    ordered = sorted(counts)

    def whole(strings: Strings) -> Tensor:
        count = next((each for each in ordered if len(strings.digits) <= each), ordered[-1])
        spare = -len(strings.digits) % count
        digits = F.pad(strings.digits, (0, 0, 0, spare)).split(count)
        visible: Sequence[Tensor | None] = [None] * len(digits)
        if strings.visible is not None:
            visible = F.pad(strings.visible, (0, 0) * 3 + (0, spare), value=True).split(count)
        parts = [read(Strings(*part)) for part in zip(digits, visible, strict=True)]
        return torch.cat(parts)[: len(strings.digits)]

    return whole


def _attend_whole(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, causal: bool) -> Tensor:
    """Attention within strings.

    Args:
        q: (U, S + 1 or 1, heads, d). k, v: (U, S + 1, heads, d).
        visible: (U, 1, rows, S + 1) bool or None. causal: whether the order hides what comes later; `visible`
            says so itself.

    Returns:
        As the queries.
    """
    if torch.compiler.is_compiling():
        # A compiler makes one kernel of this. Those of attention compute some hundred tokens at the least.
        logits = (q[:, :, None] * k[:, None]).sum(-1).float() * q.shape[-1] ** -0.5
        if visible is not None:
            logits = logits.masked_fill(~visible[:, 0, ..., None], float("-inf"))
        elif causal:
            order = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril()
            logits = logits.masked_fill(~order[..., None], float("-inf"))
        weights = logits.softmax(2).to(v.dtype)
        attended: Tensor = (weights[..., None] * v[:, None]).sum(2)
        return attended
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    causal = causal and visible is None
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
    """Attention of each row over the keys that it names: (rows, heads, d)."""
    rows = ROWS_AT_ONCE.get(q.device.type, MANY_ROWS)
    parts = zip(q.split(rows), seen.split(rows), visible.split(rows), strict=True)
    out = []
    for query, keys, mask in parts:
        # By elements: as products of matrices, small ones for each token and head, this takes longer.
        logits = (query[:, None] * _gather(k, keys)).sum(-1)
        weights = _weights(logits, mask, query.shape[-1])
        out.append((weights[..., None] * _gather(v, keys)).sum(1))
    return torch.cat(out)


def _attend_kinds(q: Tensor, k: Tensor, v: Tensor, kind: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
    """Attention between tokens of which there are few kinds.

    Args:
        q, k, v: (kinds, heads, d). kind: (rows,) of each token. seen: (rows, S + 1) of those that it names.
        visible: (rows, S + 1) bool.

    Returns:
        (rows, heads, d).
    """
    count, heads, channels = q.shape
    products = torch.einsum("ihd,jhd->ijh", q, k).flatten(0, 1)
    weights = _weights(_gather(products, kind[:, None] * count + seen), visible, channels)
    # Tokens that are not seen are named in place of others, with a weight of nothing.
    of_kind = weights.new_zeros(len(kind), count, heads)
    of_kind = of_kind.scatter_add(1, seen[..., None].expand_as(weights), weights)
    return torch.einsum("rjh,jhd->rhd", of_kind, v)


def _weights(logits: Tensor, visible: Tensor, channels: int) -> Tensor:
    """(rows, S + 1, heads) softmax over what is visible."""
    weights: Tensor = (logits * channels**-0.5).masked_fill(~visible[..., None], float("-inf")).softmax(1)
    return weights


def _gather(rows: Tensor, number: Tensor) -> Tensor:
    """The named rows; the gradient adds up in one order, which that of indexing with a matrix does not."""
    gathered: Tensor = rows.index_select(0, number.flatten()).unflatten(0, number.shape)
    return gathered


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
