"""Word problems of groups: after each element of a word, name the product of all so far."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Annotated, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from pebench.specification.options import Added
from pebench.task_bases.decoder_task import Length
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask


class WordProblemOptions(SequenceOptions):
    """Options of the task; a sequence has one element less than tokens.

    Attributes:
        group: ``a5`` and ``s5`` are not solvable, ``s3`` is, and ``z60``, sums modulo 60, commutes.
        elements: words are made of: ``all``, or, of ``s5`` and ``s3``, the ``swaps`` of two places and the
            element that changes nothing, of which every other one is a product (Grazzi et al. 2025,
            https://arxiv.org/abs/2411.12537).
    """

    extent: Length = 16
    group: Literal["a5", "s5", "s3", "z60"] = "a5"
    elements: Annotated[Literal["all", "swaps"], Added()] = "all"

    @model_validator(mode="after")
    def _has_swaps(self) -> WordProblemOptions:
        if self.elements == "swaps" and self.group[0] != "s":
            raise ValueError(f"the group '{self.group}' has no swaps; 's5' and 's3' have")
        return self


class WordProblem(SequenceTask[WordProblemOptions]):
    """A mark and elements at random, y_i = x_1 x_2 … x_i, permutations applied from the left one to the right
    one.

    Source: Merrill et al. 2024, https://arxiv.org/abs/2404.08819. The claims are about depth: a Transformer
    of fixed depth solves `a5` and `s5` up to a length that grows with its layers, unless attention carries a
    state along: six ``swaps`` of `s5` `path` must solve in one layer, as Yang et al. 2025 say
    (https://arxiv.org/abs/2505.16381), and `rope` must not. Three of all elements of `a5`, and five with a
    width of 256, `rope` must solve in two layers, six of `s3` in four, and none of these in one. Five of `s5`
    `path` must solve in four layers of that width; `rope` was not seen to. Those of `z60` both solve in one:
    they are the control.
    """

    item = "tokens"
    Options = WordProblemOptions
    version = 2

    @property
    def symbols(self) -> int:
        """Elements of the group, and the mark."""
        return len(products(self.options.group)) + 1

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Elements at random; every product is asked for.

        The mark is in the authors' code too (https://github.com/jopetty/word-problem): without it attention
        cannot tell an element from two of the same, as all values that it takes the mean of are equal.
        """
        product = products(self.options.group)
        kinds = swaps(self.options.group) if self.options.elements == "swaps" else range(len(product))
        tokens = torch.tensor(kinds)[torch.randint(len(kinds), (count, extent), generator=draws)]
        tokens[:, 0] = len(product)
        answers = torch.full_like(tokens, NOT_ASKED)
        answers[:, 1] = tokens[:, 1]
        for place in range(2, extent):
            answers[:, place] = product[answers[:, place - 1], tokens[:, place]]
        return Drawn(tokens, answers)


@cache
def products(group: str) -> Tensor:
    """(G, G) numbers of the products of the elements of a group, in a fixed order.

    Example:
        ``products("z60")[59, 2]`` is 1.
    """
    if group == "z60":
        return (torch.arange(60)[:, None] + torch.arange(60)) % 60
    elements = _elements(group)
    number = {element: place for place, element in enumerate(elements)}
    return torch.tensor(
        [[number[tuple(second[i] for i in first)] for second in elements] for first in elements]
    )


def swaps(group: str) -> list[int]:
    """Numbers of the elements of a group of permutations that move two places at the most."""
    return [
        number
        for number, element in enumerate(_elements(group))
        if sum(image != place for place, image in enumerate(element)) <= 2
    ]


def _elements(group: str) -> list[tuple[int, ...]]:
    found = permutations(range(int(group[1])))
    return [element for element in found if group[0] == "s" or _is_even(element)]


def _is_even(element: tuple[int, ...]) -> bool:
    pairs = ((i, j) for j in range(len(element)) for i in range(j))
    return sum(element[i] > element[j] for i, j in pairs) % 2 == 0
