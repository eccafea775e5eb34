"""What every SpeckNet engine shares: the model's card, and matching, on the host or on a device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.correlation import FeatureMaps, evidence, sample_templates
from specktrack.rt.fusion import FusionNet
from specktrack.rt.geometry import FloatArray, is_known

Curve = tuple[tuple[float, float], ...]
STRAIGHT: Curve = ((0.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True)
class PartMaps:
    """Feature maps (h, w, C) of a part of the image."""

    maps: FeatureMaps
    corner: FloatArray  # (2,) x, y of its first pixel, a multiple of every stride


class FeatureMatcher:
    """Templates and evidence over feature maps on the host: engines that encode on a CPU."""

    precision = "fp32"  # of the encoder

    def __init__(
        self, model: str, input_size: tuple[int, int], gamma: float, fusion: FusionNet, curve: Curve = STRAIGHT
    ) -> None:
        self.model = model
        self.input_size = input_size
        self.fusion: FusionNet | None = fusion
        self.confidence_curve = curve
        self._gamma = gamma

    def templates(self, features: FeatureMaps | PartMaps, points: FloatArray) -> FloatArray:
        """Unit features (N, C1 + C2 + C3) at points (N, 2)."""
        return sample_templates(*_placed(features, points))

    def evidence(
        self, features: FeatureMaps | PartMaps, templates: Sequence[FloatArray], centre: FloatArray, side: int
    ) -> FloatArray:
        """See Engine.evidence; beyond a part of the image its border repeats."""
        maps, centre = _placed(features, centre)
        return evidence(maps, np.stack(templates), centre, side, self._gamma)


def _placed(features: FeatureMaps | PartMaps, points: FloatArray) -> tuple[FeatureMaps, FloatArray]:
    """The maps, and the points (N, 2) relative to their first pixel."""
    if isinstance(features, PartMaps):
        return features.maps, points - features.corner
    return features, points


class DeviceMatcher(ABC):
    """Templates and evidence by the matching graphs of a model, over features that stay on a device.

    The graphs know no lost (NaN) points and one square, `match_side`. A lost point is sent as the origin and its answer
    is emptied; a larger square is made of four that overlap, a smaller one is cut out.
    """

    precision = "fp32"  # of the encoder

    def __init__(
        self, model: str, input_size: tuple[int, int], fusion: FusionNet, curve: Curve, match_side: int
    ) -> None:
        self.model = model
        self.input_size = input_size
        self.fusion: FusionNet | None = fusion
        self.confidence_curve = curve
        self._side = match_side

    @abstractmethod
    def _sample(self, features: Any, points: FloatArray) -> FloatArray:
        """Templates (N, C) at known points (N, 2), on the host."""

    @abstractmethod
    def _match(self, features: Any, templates: FloatArray, centre: FloatArray) -> FloatArray:
        """Evidence (K, N, match_side, match_side) of templates (K, N, C) around known centres (N, 2), on the host."""

    def templates(self, features: Any, points: FloatArray) -> FloatArray:
        """Unit features (N, C1 + C2 + C3) at points (N, 2); a lost point gives a zero template."""
        known = is_known(points)
        if not len(points):
            return np.zeros((0, 1), np.float32)
        found = self._sample(features, self._sent(points, known))
        return np.where(known[:, None], found, np.float32(0))

    def evidence(self, features: Any, templates: Sequence[FloatArray], centre: FloatArray, side: int) -> FloatArray:
        """See Engine.evidence; side at most 2 match_side - 1."""
        out = np.zeros((len(templates), len(centre), side, side), np.float32)
        if not len(centre):
            return out
        known = is_known(centre)
        stacked = np.stack(templates)
        sent = self._sent(centre, known)
        for at in square_offsets(side, self._side):
            found = self._match(features, stacked, sent + np.array(at, np.float32))
            _lay_over(out, found, at)
        out[:, ~known] = 0.0
        return out

    def _sent(self, points: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
        """Points (N, 2) near the image, without NaN; borders repeat, so one far beyond reads what the border holds."""
        reach = 2.0 * max(self.input_size)
        return np.clip(np.where(known[:, None], points, 0.0), -reach, 2 * reach).astype(np.float32)


def square_offsets(side: int, match_side: int) -> list[tuple[int, int]]:
    """Where squares of match_side stand, relative to the middle of a square of side, to cover it; x, y."""
    if side <= match_side:
        return [(0, 0)]
    if side > 2 * match_side - 1:
        raise ValueError(f"side {side}: at most {2 * match_side - 1} can be made of squares of {match_side}")
    step = (side - match_side) // 2
    return [(x, y) for y in (-step, step) for x in (-step, step)]


def _lay_over(out: FloatArray, found: FloatArray, at: tuple[int, int]) -> None:
    """Copy the part of found (K, N, M, M) that lies in out (K, N, S, S); both centred, found moved by x, y."""
    side, match_side = out.shape[-1], found.shape[-1]
    spans = []
    for moved in at:
        first = side // 2 + moved - match_side // 2  # of found, in out
        low, high = max(first, 0), min(first + match_side, side)
        spans.append((slice(low, high), slice(low - first, high - first)))
    (to_x, from_x), (to_y, from_y) = spans
    out[:, :, to_y, to_x] = found[:, :, from_y, from_x]
