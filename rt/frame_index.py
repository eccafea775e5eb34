"""A frame number written into the picture, so that any test can prove alignment and loss.

A strip of black and white cells over the full width at the top: one white, one black, 32 bits of the number (highest
first), 8 bits of check sum. Cells are several pixels wide, so the number survives video compression and resizing.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError

_BITS = 32
_CHECK_BITS = 8
_CELLS = 2 + _BITS + _CHECK_BITS
_MIN_CELL_PX = 3
STRIP_ROWS = 8


def burn_index(pixels: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """A copy of the frame (H, W) or (H, W, 3) with `index` (0 .. 2**32 - 1) in its top 8 rows.

    Raises InputError for a frame too small to carry the strip.
    """
    width = pixels.shape[1]
    if width < _CELLS * _MIN_CELL_PX or pixels.shape[0] < 2 * STRIP_ROWS:
        raise InputError(
            f"a frame number needs frames of at least {_CELLS * _MIN_CELL_PX} x {2 * STRIP_ROWS} pixels, "
            f"these have {width} x {pixels.shape[0]}; leave --burn-index out"
        )
    cells = np.concatenate([[1, 0], _bits(index, _BITS), _bits(_check_sum(index), _CHECK_BITS)])
    burnt = pixels.copy()
    burnt[:STRIP_ROWS] = 0
    for cell in np.flatnonzero(cells):
        first, last = _span(int(cell), width)
        burnt[:STRIP_ROWS, first:last] = 255
    return burnt


def read_index(pixels: NDArray[np.uint8]) -> int | None:
    """The number burnt into a frame (H, W) or (H, W, 3); None when there is none or it is damaged."""
    width = pixels.shape[1]
    if width < _CELLS or pixels.shape[0] < STRIP_ROWS:
        return None
    # the outermost rows and columns of a cell are left out: compression smears the edges
    rows = pixels[1 : STRIP_ROWS - 2].reshape(STRIP_ROWS - 3, width, -1).mean(axis=(0, 2))
    levels = np.empty(_CELLS)
    for cell in range(_CELLS):
        first, last = _span(cell, width)
        inset = (last - first) // 4
        levels[cell] = rows[first + inset : last - inset].mean()
    if levels[0] - levels[1] < 64:
        return None
    cells = levels > (levels[0] + levels[1]) / 2
    index = _number(cells[2 : 2 + _BITS])
    return index if _number(cells[2 + _BITS :]) == _check_sum(index) else None


def _span(cell: int, width: int) -> tuple[int, int]:
    return cell * width // _CELLS, (cell + 1) * width // _CELLS


def _bits(number: int, count: int) -> NDArray[np.uint8]:
    return np.array([(number >> shift) & 1 for shift in reversed(range(count))], np.uint8)


def _number(bits: NDArray[np.bool_]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _check_sum(index: int) -> int:
    return zlib.crc32(index.to_bytes(4, "big")) & 0xFF
