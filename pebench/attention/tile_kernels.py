"""What the kernels in Triton share: which tile is whose, and how vectors of tokens are read and written.

Vectors of tokens are read by their strides, with the channels side by side; WIDTH is the power of two that
holds the D channels of a head. EVEN says that tiles divide the number of tokens.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)

NEVER = tl.constexpr(-1e30)
"""Logit of a key that is not seen. Finite, so that the difference of two is a number."""


@triton.jit
def first_query(QUERIES: tl.constexpr):
    """Of the tile of a program. The tiles that see most keys come first."""
    return (tl.num_programs(0) - 1 - tl.program_id(0)) * QUERIES


@triton.jit
def text_and_head(heads):
    """Those of a program, and the place of both among all."""
    both = tl.program_id(1)
    return (both // heads).to(tl.int64), (both % heads).to(tl.int64), both


@triton.jit
def causal(query, key, length):
    """Whether each query sees each key."""
    return (key[None, :] <= query[:, None]) & (query[:, None] < length)


@triton.jit
def rows(x, place, width, length, EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, WIDTH) vectors of tokens, zero past the last token and the last channel."""
    channel = tl.arange(0, WIDTH)
    at = x + place[:, None] * width + channel[None, :]
    if EVEN and D == WIDTH:
        return tl.load(at)
    return tl.load(at, mask=(place[:, None] < length) & (channel[None, :] < D), other=0.0)


@triton.jit
def put(x, values, place, width, length, EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """Writes what `rows` reads."""
    channel = tl.arange(0, WIDTH)
    at = x + place[:, None] * width + channel[None, :]
    values = values.to(x.dtype.element_ty)
    if EVEN and D == WIDTH:
        tl.store(at, values)
    else:
        tl.store(at, values, mask=(place[:, None] < length) & (channel[None, :] < D))


@triton.jit
def number(x, place, length, EVEN: tl.constexpr):
    """One number a token."""
    if EVEN:
        return tl.load(x + place)
    return tl.load(x + place, mask=place < length, other=0.0)
