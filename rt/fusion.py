"""A small recurrent network that weighs the measurements of a frame: how far to correct a point, and how sure it is.

It sees no coordinates and no directions, only lengths, angles between measurements, spreads and shares; what it gives
are gains, and the correction is the sum of gain times measurement. A rotated or mirrored stream is therefore tracked
exactly alike: the network cannot learn which way hearts usually move (the impartial motion of arXiv 2507.10127, by
construction). training/fusion.py is the torch twin that is trained; a test holds both together.

    x = scalars -> u = relu(x A) -> h = GRU(u, h) -> v = relu([u, h] B) -> gains, certainty, confidence
    correction_i = sum_j near_ij c_j (sum_m gain_jm offset_jm) / sum_j near_ij c_j        c = exp(certainty)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray

N_MEASURED = 8  # measure.MEASUREMENTS
N_VECTORS = N_MEASURED + 3  # half the difference of the two flows; what neighbours say of motion and of shape
PAIRS = (  # vectors whose angle is told
    *((1, 2), (2, 4), (2, 5), (1, 3), (2, 8), (6, 1), (6, 2), (6, 7), (7, 4), (7, 8)),
    *((9, 2), (9, 8), (10, 2), (10, 9)),
)
N_SCALARS = N_MEASURED + N_VECTORS + len(PAIRS) + 6
FIRST, SECOND = np.array(PAIRS).T
UNIT_PX = 3.0  # lengths are told in units of this
LARGEST_CORRECTION = 12.0  # units of 256 pixels across
OLDEST = 45.0  # frames; training goes no further, and what it has not seen must not be told
HIDDEN, STATE = 48, 32
SHAPES = {
    "a": (N_SCALARS, HIDDEN),
    "a_bias": (HIDDEN,),
    "gates_in": (HIDDEN, 3 * STATE),
    "gates_bias": (3 * STATE,),
    "gates_state": (STATE, 3 * STATE),
    "b": (HIDDEN + STATE, HIDDEN),
    "b_bias": (HIDDEN,),
    "out": (HIDDEN, N_VECTORS + 2),
    "out_bias": (N_VECTORS + 2,),
}


@dataclass(frozen=True)
class Context:
    """What is known beside the vectors, each (N,)."""

    spread: FloatArray  # (8, N) units; gray levels for aligned patches
    share_own: FloatArray
    share_near: FloatArray
    speed: FloatArray  # of the flow, units per frame
    age: FloatArray  # frames since the points were set
    crowd_near: FloatArray  # sum of closeness to neighbours
    crowd_far: FloatArray


@dataclass(frozen=True)
class Fused:
    """What the network makes of one frame."""

    correction: FloatArray  # (N, 2) units, to add to the expected position
    confidence: FloatArray  # (N,) raw, 0..1: probability of lying within four pixels
    state: FloatArray  # (N, STATE)


class FusionNet:
    """The trained weights; without memory of its own."""

    def __init__(self, arrays: dict[str, FloatArray]) -> None:
        """Arrays named and shaped as SHAPES says; raises EngineError."""
        wrong = [key for key, shape in SHAPES.items() if key not in arrays or arrays[key].shape != shape]
        if wrong:
            raise EngineError(f"fusion weights: {', '.join(wrong)} missing or of another shape; export the model again")
        self._w = {key: np.ascontiguousarray(arrays[key], np.float32) for key in SHAPES}

    def start(self, n_points: int) -> FloatArray:
        """State of points just set."""
        return np.zeros((n_points, STATE), np.float32)

    def step(self, vectors: FloatArray, context: Context, state: FloatArray, near: FloatArray) -> Fused:
        """One frame: vectors (11, N, 2) units, state (N, STATE), near (N, N) from position.closeness.

        A lost (NaN) point stays lost and tells its neighbours nothing.
        """
        is_lost = np.asarray(~np.isfinite(vectors).all((0, 2)))
        vectors = np.where(is_lost[None, :, None], np.float32(0.0), vectors)
        w = self._w
        hidden = _relu(scalars(vectors, context) @ w["a"] + w["a_bias"])
        new_state = _gru(hidden @ w["gates_in"] + w["gates_bias"], state @ w["gates_state"], state)
        top = _relu(np.concatenate((hidden, new_state), 1) @ w["b"] + w["b_bias"])
        out = top @ w["out"] + w["out_bias"]
        own = np.einsum("nm,mnx->nx", out[:, :N_VECTORS], vectors)
        own = own / np.maximum(np.hypot(*own.T) / LARGEST_CORRECTION, 1.0)[:, None]
        certainty = np.where(is_lost, 0.0, np.exp(np.clip(out[:, N_VECTORS], -6.0, 6.0)))
        weight = near * certainty[None].astype(np.float32)
        correction = weight @ own / np.maximum(weight.sum(1, keepdims=True), 1e-9)
        correction[is_lost] = np.nan
        confidence = np.where(is_lost, 0.0, _sigmoid(out[:, N_VECTORS + 1]))
        return Fused(correction.astype(np.float32), confidence.astype(np.float32), new_state)


def scalars(vectors: FloatArray, context: Context) -> FloatArray:
    """(N, N_SCALARS): all that the network is told, the same in every direction."""
    length = np.hypot(vectors[..., 0], vectors[..., 1])
    dots = (vectors[FIRST] * vectors[SECOND]).sum(-1)
    rows = (
        np.log(np.maximum(context.spread, 0.05)),
        np.minimum(length / UNIT_PX, 4.0),
        dots / (length[FIRST] * length[SECOND] + 0.25),
        (context.share_own, context.share_near, np.minimum(context.speed / UNIT_PX, 4.0)),
        (np.log1p(np.minimum(context.age, OLDEST)) / 4.0,),
        np.log(np.maximum((context.crowd_near, context.crowd_far), 1.0)) / 2.0,
    )
    return np.ascontiguousarray(np.concatenate(rows).T, np.float32)


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, np.float32(0.0))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))), np.float32)


def _gru(given: FloatArray, kept: FloatArray, state: FloatArray) -> FloatArray:
    """A gated recurrent unit (Cho et al. 2014): reset, update, candidate along the last axis of both inputs."""
    reset = _sigmoid(given[:, :STATE] + kept[:, :STATE])
    update = _sigmoid(given[:, STATE : 2 * STATE] + kept[:, STATE : 2 * STATE])
    candidate = np.tanh(given[:, 2 * STATE :] + reset * kept[:, 2 * STATE :])
    return np.asarray((1 - update) * candidate + update * state, np.float32)


def steady_weights() -> dict[str, FloatArray]:
    """Fixed gains: cautious corrections towards the anchors, and towards how the neighbours move.

    Where training begins, and what half-believed gains are mixed with (training/fusion.py).
    """
    arrays = {key: np.zeros(shape, np.float32) for key, shape in SHAPES.items()}
    arrays["out_bias"][[1, 2, 4, 9]] = (0.06, 0.10, 0.15, 0.40)
    return arrays


def save_fusion(path: Path, arrays: dict[str, FloatArray]) -> None:
    """Write weights as .npz; the same weights give the same bytes."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{key: np.asarray(arrays[key], np.float32) for key in SHAPES})


def load_fusion(path: Path) -> FusionNet:
    """Read an .npz of weights; raises EngineError."""
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            arrays = {key: stored[key] for key in stored.files}
    except Exception as error:  # damaged bytes fail in any of the ways of zip files and arrays
        raise EngineError(f"{path}: not readable fusion weights; export the model again or copy all files") from error
    try:
        return FusionNet(arrays)
    except EngineError as error:
        raise EngineError(f"{path}: {error}") from error
