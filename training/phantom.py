"""Synthetic echo clips with exact truth: an anatomy of scatterers, moved by a heart, seen by a scanner.

    heart.py       where every material point is at every moment
    anatomy.py     how strongly it scatters
    ultrasound.py  how a scanner shows it
    phantom.py     (this file) a random or a chosen heart, its clip and its tracks

Everything is drawn from one seed: the same seed gives the same clip on the same device.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specktrack.training.anatomy import BLOOD, PERICARDIUM, TISSUE, WALL, classify, wall_coordinate
from specktrack.training.heart import Heart, HeartMotion, HeartShape, Placement, Rhythm
from specktrack.training.ultrasound import FWHM_TO_SIGMA, Imaging, Scanner

SCATTERERS_PER_MM2 = 9.0  # in the projected slab: about ten in a resolution cell at mid-depth
SCATTERING_DB = {BLOOD: -30.0, TISSUE: -9.0, WALL: 0.0, PERICARDIUM: 7.0}
TEXTURE_DEPTH_MM = 5.0  # shift out of the plane that replaces one radian of the tissue's slow texture
SURROUNDINGS_TEXTURE = 2.2  # how much patchier tissue around the heart is than its walls


@dataclass(frozen=True)
class PhantomSpec:
    """Everything that defines a phantom clip except its length."""

    heart: Heart
    imaging: Imaging = field(default_factory=Imaging)
    frame_rate_hz: float = 55.0
    seed: int = 0
    blood_db: float = -30.0
    texture_db: float = 4.0  # SD of the slow variation of brightness attached to the tissue
    decorrelation: tuple[float, float] = (0.0, 0.0)  # renewed share of amplitude per frame: at rest, per contraction


@dataclass(frozen=True)
class PhantomClip:
    """Frames and truth, in the layout of a training clip (docs: clip format)."""

    frames: NDArray[np.uint8]  # (T, H, W)
    tracks: NDArray[np.float32]  # (N, T, 2) x, y in pixels
    visible: NDArray[np.bool_]  # (N, T)
    time_s: NDArray[np.float64]  # (T,)
    contour: NDArray[np.float32]  # (K, T, 2) mid-wall contour, septal base to apex to lateral base
    state: NDArray[np.float32]  # (T,) contraction, 0 at end-diastole
    frame_rate_hz: float
    mm_per_px: tuple[float, float]
    ed_s: tuple[float, ...]


def standard_spec(rate_bpm: float = 70.0, seed: int = 0, duration_s: float = 60.0, size_px: int = 256) -> PhantomSpec:
    """An ordinary, healthy A4C heart in a good window: the demo, the tests and `phantom:a4c?hr=70&seed=1`."""
    heart = Heart(Rhythm.regular(rate_bpm, duration_s))
    return PhantomSpec(heart, Imaging(size_px=size_px), seed=seed)


def random_spec(seed: int, duration_s: float = 2.0, size_px: int = 384) -> PhantomSpec:
    """A random A4C heart and scanner over the ranges of the simulator table of the clinical reference."""
    g = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=g))

    rate = min(max(68.0 * math.exp(0.22 * float(torch.randn((), generator=g))), 45.0), 120.0)
    rhythm = Rhythm.varying(rate, duration_s, between(0.01, 0.05), g, start_s=-between(0.0, 1.0) * 60.0 / rate)
    strength = between(0.3, 1.5)  # from a failing to a vigorous heart
    shape = HeartShape(between(70, 100), between(17, 31), between(7, 15), between(35, 55), between(20, 34))
    motion = HeartMotion(
        annular_excursion=13.0 * strength,
        radial=min(0.30 * strength * between(0.7, 1.3), 0.45),
        side_difference=between(-0.45, 0.45),
        side_delay_s=between(0.0, 0.03) if between(0, 1) > 0.1 else between(0.04, 0.15),
        early_share=between(0.45, 0.8),
        swing_deg=between(-6, 8),
        elevation=between(-10.0, 10.0),
        breathing=between(0, 5),
        breathing_hz=between(0.15, 0.35),
        breathing_phase=between(0, 6.28),
        probe_drift=between(-1.0, 1.0),
        scar=(between(0.4, 1.0) if between(0, 1) < 0.25 else 0.0, between(10, 80), between(12, 30)),
    )
    motion = replace(motion, scar=_smooth_scar(motion))
    place = Placement(between(12, 30), between(-8, 12), between(-15, 15))
    depth = place.apex_depth + shape.length + shape.atrium * between(0.4, 1.1)
    imaging = Imaging(
        depth_mm=min(max(depth, 100.0), 185.0),
        sector_deg=between(62, 90),
        wavelength_mm=between(0.40, 0.50) if between(0, 1) > 0.2 else between(0.5, 0.75),
        axial_fwhm_mm=between(0.45, 0.95),
        lateral_fwhm_deg=between(1.2, 2.5),
        elevation_fwhm_mm=between(3, 6),
        dynamic_range_db=between(45, 72),
        gain_db=between(-7, 8),
        noise_db=between(-46, -14),
        gray_gamma=between(0.75, 1.6),
        smoothing_px=between(0.2, 1.4),
        persistence=between(0.0, 0.35),
        haze_db=between(-26, 3),
        size_px=size_px,
    )
    return PhantomSpec(
        Heart(rhythm, shape, motion, place),
        imaging,
        frame_rate_hz=between(40, 90) if between(0, 1) > 0.2 else between(25, 40),
        seed=seed,
        blood_db=between(-38, -16),
        texture_db=between(0.8, 5.5),
        decorrelation=(between(0.03, 0.45), between(1.0, 12.0)),
    )


def _smooth_scar(motion: HeartMotion) -> tuple[float, float, float]:
    """The scar, wide enough that the muscle moving towards it never folds over it."""
    depth, centre, width = motion.scar
    pull = motion.annular_excursion * (1.0 + abs(motion.side_difference))
    return depth, centre, max(width, 1.2 * depth * pull)


class Phantom:
    """A clip in the making: `frame(k)` renders frame k; frames are rendered in order."""

    def __init__(self, spec: PhantomSpec, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self._generator = torch.Generator(self.device).manual_seed(spec.seed * 2 + 1)
        self.scanner = Scanner(spec.imaging, self._generator, device)
        self._place_scatterers()

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame (H, W) uint8 at `index` / frame rate seconds."""
        time_s = index / self.spec.frame_rate_hz
        where = self.spec.heart.position(self._points, time_s)
        amplitude = self._amplitude_now(time_s)
        image = self.scanner.display(self.scanner.envelope(where, amplitude))
        return (image * 255.0 + 0.5).to(torch.uint8).cpu().numpy()

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Frames for ever."""
        index = 0
        while True:
            yield self.frame(index)
            index += 1

    def truth(self, points: Tensor, index: int) -> Tensor:
        """Where material points (N, 2), heart frame, appear in frame `index`: (N, 2) pixels."""
        return self.spec.imaging.to_pixels(self.spec.heart.position(points, index / self.spec.frame_rate_hz))

    def material_points(self, n_points: int, wall_share: float = 0.75, n_frames: int = 1) -> Tensor:
        """Random query points (n_points, 2), heart frame: mostly in the left-ventricular wall, always in the sector."""
        candidates = self._points[torch.randperm(len(self._points), generator=self._generator, device=self.device)]
        candidates = candidates[classify(candidates, self.spec.heart.shape) != BLOOD]
        for index in {0, n_frames // 3, (2 * n_frames) // 3, n_frames - 1}:
            time_s = index / self.spec.frame_rate_hz
            candidates = candidates[self.spec.imaging.in_sector(self.spec.heart.position(candidates, time_s))]
        depth = wall_coordinate(candidates, self.spec.heart.shape)
        in_wall = (depth > 0.05) & (depth < 0.95) & (candidates[:, 1] < self.spec.heart.shape.length)
        wanted = round(wall_share * n_points)
        chosen = torch.cat((candidates[in_wall][:wanted], candidates[~in_wall][: n_points - wanted]))
        return chosen[:n_points]

    def _place_scatterers(self) -> None:
        """Fill the sector, with a margin for motion, at end-diastole."""
        imaging, heart, g = self.spec.imaging, self.spec.heart, self._generator
        reach = imaging.depth_mm * math.sin(math.radians(imaging.sector_deg / 2)) + 20.0
        area = 2 * reach * (imaging.depth_mm + 15.0)
        count = int(area * SCATTERERS_PER_MM2)
        probe = torch.rand(count, 2, generator=g, device=self.device)
        probe = probe * torch.tensor([2 * reach, imaging.depth_mm + 15.0], device=self.device)
        probe = probe - torch.tensor([reach, 5.0], device=self.device)
        angle = torch.atan2(probe[:, 0].abs(), probe[:, 1].clamp(min=1.0))
        probe = probe[angle < math.radians(imaging.sector_deg / 2 + 12.0)]
        self._points = self._to_heart(probe)
        label = classify(self._points, heart.shape)
        keep = (label != BLOOD) | (torch.rand(len(label), generator=g, device=self.device) < 0.3)
        self._points, label = self._points[keep], label[keep]
        self._is_blood = label == BLOOD
        self._strength = self._scattering(label)
        contrast = torch.where(label == TISSUE, SURROUNDINGS_TEXTURE, 1.0) * (label != BLOOD)
        self._textures = [self.spec.texture_db * contrast * self._texture() for _ in range(2)]
        n = len(label)
        self._speckle = torch.randn(n, generator=g, device=self.device)
        half = 1.5 * imaging.elevation_fwhm_mm
        self._offset = (torch.rand(n, generator=g, device=self.device) * 2 - 1) * half

    def _to_heart(self, probe: Tensor) -> Tensor:
        """Probe frame back to the heart frame, undeformed: only to decide where scatterers are needed."""
        place = self.spec.heart.placement
        angle = math.radians(place.tilt_deg)
        x, z = probe[:, 0] - place.apex_x, probe[:, 1] - place.apex_depth
        return torch.stack((math.cos(angle) * x + math.sin(angle) * z, -math.sin(angle) * x + math.cos(angle) * z), 1)

    def _scattering(self, label: Tensor) -> Tensor:
        """Mean amplitude (N,): class, slow texture of the tissue, normalised for the density of scatterers."""
        level = torch.zeros(len(label), device=self.device)
        for kind, decibel in SCATTERING_DB.items():
            level[label == kind] = self.spec.blood_db if kind == BLOOD else decibel
        amplitude: Tensor = 10 ** (level / 20)
        return amplitude * self._unit_level()

    def _unit_level(self) -> float:
        """Amplitude of one scatterer that makes homogeneous wall tissue appear at envelope 1 at mid-depth."""
        imaging = self.spec.imaging
        sr = imaging.axial_fwhm_mm * FWHM_TO_SIGMA / Scanner.RANGE_STEP_MM
        sa = imaging.lateral_fwhm_deg * FWHM_TO_SIGMA / Scanner.ANGLE_STEP_DEG
        cell_mm2 = Scanner.RANGE_STEP_MM * math.radians(Scanner.ANGLE_STEP_DEG) * 0.5 * imaging.depth_mm
        energy = 1.0 / (4.0 * math.pi * sr * sa)  # sum of the squared kernel of unit sum
        slab = 1.0 / 3.0 * math.sqrt(math.pi) * FWHM_TO_SIGMA  # mean squared elevation weight over the slab
        return 1.0 / math.sqrt(SCATTERERS_PER_MM2 * cell_mm2 * energy * slab)

    def _texture(self) -> Tensor:
        """Slow random field (N,) attached to the tissue: three octaves of interpolated noise, unit variance."""
        total = torch.zeros(len(self._points), device=self.device)
        low = self._points.amin(0)
        span = (self._points.amax(0) - low).clamp(min=1.0)
        grid_xy = (self._points - low) / span * 2 - 1
        for cell_mm, weight in ((14.0, 0.6), (5.0, 0.6), (2.2, 0.8)):
            rows, columns = (max(int(s / cell_mm), 2) for s in (float(span[1]), float(span[0])))
            noise = torch.randn(1, 1, rows, columns, generator=self._generator, device=self.device)
            value = torch.nn.functional.grid_sample(noise, grid_xy[None, None], mode="bicubic", align_corners=True)
            total += weight * value[0, 0, 0]
        return total

    def _amplitude_now(self, time_s: float) -> Tensor:
        """Real amplitude (N,) at a time: slice profile over elevation, renewal of blood and of a share of tissue."""
        g = self._generator
        fresh = torch.randn(len(self._speckle), generator=g, device=self.device)
        share = self._renewed_share(time_s)
        renewed = math.sqrt(1 - share**2) * self._speckle + share * fresh
        self._speckle = torch.where(self._is_blood, fresh, renewed)
        sigma = self.spec.imaging.elevation_fwhm_mm * FWHM_TO_SIGMA
        shift = self.spec.heart.elevation(self._points, time_s)
        slab = torch.exp(-0.5 * ((self._offset - shift) / sigma) ** 2)
        turn = shift / TEXTURE_DEPTH_MM
        texture = torch.cos(turn) * self._textures[0] + torch.sin(turn) * self._textures[1]
        return self._strength * self._speckle * slab * 10 ** (texture / 20)

    def _renewed_share(self, time_s: float) -> float:
        """Share of the amplitude that is new in this frame: motion across the plane and strain within a cell."""
        at_rest, per_contraction = self.spec.decorrelation
        heart = self.spec.heart
        change = abs(heart.state(time_s) - heart.state(time_s - 1.0 / self.spec.frame_rate_hz))
        return min(at_rest + per_contraction * change, 0.9)


def simulate_clip(
    spec: PhantomSpec, n_frames: int, n_points: int = 128, n_contour: int = 61, device: torch.device | str = "cpu"
) -> PhantomClip:
    """Render a clip of `n_frames` with truth for `n_points` random material points and the mid-wall contour."""
    phantom = Phantom(spec, device)
    points = phantom.material_points(n_points, n_frames=n_frames)
    contour = spec.heart.contour(n_contour).to(device)
    frames = np.stack([phantom.frame(k) for k in range(n_frames)])
    tracks = torch.stack([phantom.truth(points, k) for k in range(n_frames)], 1)
    walls = torch.stack([phantom.truth(contour, k) for k in range(n_frames)], 1)
    time_s = np.arange(n_frames) / spec.frame_rate_hz
    visible = torch.stack([spec.imaging.in_sector(spec.imaging.to_mm(tracks[:, k]), 0.5) for k in range(n_frames)], 1)
    scale = spec.imaging.mm_per_px
    return PhantomClip(
        frames=frames,
        tracks=tracks.float().cpu().numpy(),
        visible=visible.cpu().numpy(),
        time_s=time_s,
        contour=walls.float().cpu().numpy(),
        state=np.array([spec.heart.state(t) for t in time_s], np.float32),
        frame_rate_hz=spec.frame_rate_hz,
        mm_per_px=(scale, scale),
        ed_s=tuple(t for t in spec.heart.rhythm.ed_s if 0 <= t <= time_s[-1]),
    )


def with_size(spec: PhantomSpec, size_px: int) -> PhantomSpec:
    """The same heart on a display of another size."""
    return replace(spec, imaging=replace(spec.imaging, size_px=size_px))
