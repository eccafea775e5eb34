"""Fusion weights and inputs by chance: what holds for them holds for any training."""

import numpy as np

from specktrack.rt.fusion import N_MEASURED, N_VECTORS, SHAPES, STATE, Context
from specktrack.rt.geometry import FloatArray


def random_weights(seed: int, size: float = 1.0) -> dict[str, FloatArray]:
    """Every array filled, so that nothing is switched off; size 1 keeps layers of the size of their inputs."""
    rng = np.random.default_rng(seed)
    return {key: (size * rng.normal(0, shape[0] ** -0.5, shape)).astype(np.float32) for key, shape in SHAPES.items()}


def random_vectors(rng: np.random.Generator, n: int, length: float = 2.0) -> FloatArray:
    return rng.normal(0, length, (N_VECTORS, n, 2)).astype(np.float32)


def random_context(rng: np.random.Generator, n: int) -> Context:
    values = [rng.uniform(0.1, 4.0, (N_MEASURED, n)), *(rng.uniform(0, 1, (2, n))), *(rng.uniform(0, 6, (4, n)))]
    return Context(*(np.asarray(value, np.float32) for value in values))


def random_state(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.uniform(-1, 1, (n, STATE)).astype(np.float32)
