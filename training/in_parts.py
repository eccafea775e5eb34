"""A few rows at a time, so that what is made of them stays in the processor's cache."""

from collections.abc import Iterator

import torch
from torch import Tensor


def in_parts(at_once: int, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same `at_once` rows of every tensor, then the next; all of them together while a graph is exported.

    A graph serves any number of rows: cut in parts it would serve only the number that it was made with.
    """
    if torch.compiler.is_exporting():
        return iter((rows,))
    return zip(*(torch.split(tensor, at_once) for tensor in rows), strict=True)
