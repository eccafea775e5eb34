"""Exponential and logarithm that a compiler can turn into vector instructions; single precision, for kernels only.

numba calls the library for `math.exp` and `math.log`, one number at a time. Both are polynomials on the mantissa here
(the logarithm's is that of Cephes' logf); tests hold them to NumPy's.
"""

import numpy as np
from numba import njit

FAST = {"contract", "reassoc", "arcp", "nsz"}  # not nnan: a lost point is NaN
LN2 = np.float32(0.6931471805599453)
LOG2_E = np.float32(1.4426950408889634)
LEAST = np.float32(-87.0)  # below it e^x is as good as nothing
ROOT_2 = np.float32(1.4142135)
ONE, HALF = np.float32(1.0), np.float32(0.5)
BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)
MANTISSA, ONE_BITS = np.int32(0x007FFFFF), np.int32(0x3F800000)


@njit(cache=True, fastmath=FAST, nogil=True)
def exp_of_negative(x: np.float32) -> np.float32:
    """e^x for x <= 0, relative error below 1e-6; under LEAST as if it were LEAST."""
    power = max(x, LEAST) * LOG2_E
    whole = np.floor(power + HALF)
    f = np.float32(power - whole)
    p = np.float32(1.535336188319500e-4)
    p = p * f + np.float32(1.339887440266574e-3)
    p = p * f + np.float32(9.618437357674640e-3)
    p = p * f + np.float32(5.550332471162809e-2)
    p = p * f + np.float32(2.402264791363012e-1)
    p = p * f + np.float32(6.931472028550421e-1)
    p = p * f + ONE
    return np.float32(p) * np.int32((np.int32(whole) + BIAS) << MANTISSA_BITS).view(np.float32)


@njit(cache=True, fastmath=FAST, nogil=True)
def log_of_product(x: np.float32, y: np.float32, z: np.float32) -> np.float32:
    """ln(x y z) of positive normal numbers, absolute error below 1e-5; the product itself may be far below 1e-38."""
    a, b, c = np.float32(x).view(np.int32), np.float32(y).view(np.int32), np.float32(z).view(np.int32)
    exponents = np.int32((a >> MANTISSA_BITS) + (b >> MANTISSA_BITS) + (c >> MANTISSA_BITS) - 3 * BIAS)
    return np.float32(exponents) * LN2 + _log_from_one(_mantissa(a) * _mantissa(b) * _mantissa(c))


@njit(cache=True, fastmath=FAST, nogil=True)
def _mantissa(bits: np.int32) -> np.float32:
    """In [1, 2)."""
    return np.int32((bits & MANTISSA) | ONE_BITS).view(np.float32)


@njit(cache=True, fastmath=FAST, nogil=True)
def _log_from_one(m: np.float32) -> np.float32:
    """ln m for m in [1, 8)."""
    bits = np.float32(m).view(np.int32)
    z = _mantissa(bits)
    is_upper = np.int32(z > ROOT_2)
    exponent = np.int32((bits >> MANTISSA_BITS) - BIAS + is_upper)
    t = z * (ONE - HALF * np.float32(is_upper)) - ONE
    p = np.float32(7.0376836292e-2)
    p = p * t + np.float32(-1.1514610310e-1)
    p = p * t + np.float32(1.1676998740e-1)
    p = p * t + np.float32(-1.2420140846e-1)
    p = p * t + np.float32(1.4249322787e-1)
    p = p * t + np.float32(-1.6668057665e-1)
    p = p * t + np.float32(2.0000714765e-1)
    p = p * t + np.float32(-2.4999993993e-1)
    p = p * t + np.float32(3.3333331174e-1)
    square = t * t
    return np.float32(exponent) * LN2 + (t + (p * t * square - HALF * square))
