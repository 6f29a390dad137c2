"""Channel pairs shared out among the axes of a position."""

from __future__ import annotations


def pairs_of(width: int) -> int:
    """How many pairs the channels of a head make up.

    Raises:
        ValueError: one is left over.
    """
    if width % 2:
        raise ValueError(f"{width} channels a head do not make up pairs")
    return width // 2


def shares(pairs: int, axes: int) -> tuple[int, ...]:
    """The number of pairs of each axis, first axis first: alike, what is left over going to the last axes.

    Raises:
        ValueError: there are fewer pairs than axes.
    """
    if pairs < axes:
        raise ValueError(f"{pairs} pairs of channels are too few for {axes} axes")
    each, left = divmod(pairs, axes)
    return tuple(each + (axis >= axes - left) for axis in range(axes))
