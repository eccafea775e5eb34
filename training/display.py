"""From the envelope to the picture on the scanner's screen: logarithm, gray map, scan conversion, persistence."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from specktrack.training.filters import blurred, gaussian
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging

HEADROOM_DB = 20.0  # mean tissue lies this far below white at zero gain
FILTER_CELLS = (2.2, 1.3)  # reach of the speckle filter, rows and columns of the grid


class Display:
    """The picture of one clip; remembers the last one for persistence."""

    def __init__(self, imaging: Imaging, grid: PolarGrid, device: torch.device | str) -> None:
        self._imaging = imaging
        sampling, outside = grid.sampling(imaging)
        self._sampling, self._outside = sampling.to(device), outside.to(device)
        self._filter = tuple(gaussian(sigma).to(device) for sigma in FILTER_CELLS)
        self._smoothing = gaussian(max(imaging.smoothing_px, 0.1)).to(device)
        self._shown: Tensor | None = None

    def show(self, envelope: Tensor) -> Tensor:
        """Envelope (n_range, n_angle) to (H, W) in [0, 1]."""
        imaging = self._imaging
        level = 20.0 * torch.log10(envelope.clamp(min=1e-6)) + imaging.gain_db
        gray = ((level + imaging.dynamic_range_db - HEADROOM_DB) / imaging.dynamic_range_db).clamp(0.0, 1.0)
        if imaging.speckle_filter > 0:
            gray = gray + imaging.speckle_filter * (blurred(gray, *self._filter) - gray)
        image = F.grid_sample(gray[None, None], self._sampling, mode="bilinear", align_corners=True)[0, 0]
        image = self._gray_map(image.clamp(0.0, 1.0))
        if imaging.smoothing_px > 0.2:
            image = blurred(image, self._smoothing, self._smoothing)
        image = image.masked_fill(self._outside, 0.0)
        if self._shown is not None:
            image = (1 - imaging.persistence) * image + imaging.persistence * self._shown
        self._shown = image
        return image

    def _gray_map(self, image: Tensor) -> Tensor:
        bent = image * image * (3.0 - 2.0 * image)
        return (image + self._imaging.gray_bend * (bent - image)) ** self._imaging.gray_gamma


def compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What a JPEG of that quality keeps of an (H, W) picture."""
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
