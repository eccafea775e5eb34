"""Synthetic echo clips with exact truth: a heart of scatterers, moved by its rhythm, seen by a scanner.

    subject.py      what a heart is to the renderer; views.py makes random and ordinary ones
    tissue_map.py   how strongly each place of it scatters
    scatterers.py   what scatters there, and how its speckle changes
    ultrasound.py   how a scanner sees it: grid.py, artefacts.py, display.py, imaging.py (the knobs)
    phantom.py      (this file) a clip and its tracks
    random_phantom.py  all of it drawn from one seed

Everything is drawn from one seed: the same seed gives the same clip on the same device.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specktrack.training.display import compressed
from specktrack.training.heart import Heart
from specktrack.training.heart_short_axis import ShortAxisHeart
from specktrack.training.imaging import Imaging
from specktrack.training.scatterers import Scatterers
from specktrack.training.subject import Subject
from specktrack.training.tissue_block import TissueBlock
from specktrack.training.tissue_map import TissueLook
from specktrack.training.ultrasound import Scanner
from specktrack.training.views import standard_subject


@dataclass(frozen=True)
class PhantomSpec:
    """Everything that defines a phantom clip except its length."""

    heart: Subject
    imaging: Imaging = field(default_factory=Imaging)
    look: TissueLook = field(default_factory=TissueLook)
    frame_rate_hz: float = 55.0
    seed: int = 0


@dataclass(frozen=True)
class PhantomClip:
    """Frames and truth, in the layout of a training clip (docs/clip-format.md)."""

    frames: NDArray[np.uint8]  # (T, H, W)
    tracks: NDArray[np.float32]  # (N, T, 2) x, y in pixels
    visible: NDArray[np.bool_]  # (N, T)
    wall_depth: NDArray[np.float32]  # (N,) 0 endocardium .. 1 epicardium of the tracked wall, NaN elsewhere
    contour: NDArray[np.float32]  # (K, T, 2) mid-wall contour, base to apex to base
    time_s: NDArray[np.float64]  # (T,)
    state: NDArray[np.float32]  # (T,) contraction, 0 at end-diastole
    phase: NDArray[np.float32]  # (T,) fraction of the beat from ED to ED
    query_frame: int  # in diastasis
    frame_rate_hz: float
    mm_per_px: tuple[float, float]
    ed_frames: tuple[int, ...]
    es_frames: tuple[int, ...]


def holding_breath(spec: PhantomSpec) -> PhantomSpec:
    """The same heart while nobody breathes and the hand rests: whole equal beats of it loop without a jump."""
    heart = spec.heart
    if not isinstance(heart, Heart | ShortAxisHeart | TissueBlock):
        raise TypeError(f"{type(heart).__name__} has no motion as a whole that could be held")
    whole = replace(heart.whole, breathing=0.0, probe_shift=0.0, probe_turn_deg=0.0)
    return replace(spec, heart=replace(heart, whole=whole))


def standard_spec(
    rate_bpm: float = 70.0, seed: int = 0, duration_s: float = 60.0, size_px: int = 256, view: str = "a4c"
) -> PhantomSpec:
    """An ordinary, healthy heart in a good window: the demo, the tests and `phantom:a4c?hr=70&seed=1`."""
    return PhantomSpec(standard_subject(view, rate_bpm, duration_s), Imaging(size_px=size_px), seed=seed)


class Phantom:
    """A clip in the making: `frame(k)` renders frame k; frames are rendered in order."""

    def __init__(self, spec: PhantomSpec, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self._generator = torch.Generator(self.device).manual_seed(spec.seed * 2 + 1)
        self.scanner = Scanner(spec.imaging, self._generator, device)
        self._scatterers = Scatterers(spec.heart, spec.imaging, spec.look, self._generator, device)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame (H, W) uint8 at `index` / frame rate seconds."""
        time_s = index / self.spec.frame_rate_hz
        amplitude, phase = self._scatterers.answer(time_s)
        where = self._scanned(self._scatterers.points, time_s)
        image = self.scanner.display(self.scanner.envelope(where, amplitude, phase))
        gray = (image * 255.0 + 0.5).to(torch.uint8).cpu().numpy()
        quality = self.spec.imaging.jpeg_quality
        return compressed(gray, quality) if quality else gray

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Frames for ever."""
        index = 0
        while True:
            yield self.frame(index)
            index += 1

    def truth(self, points: Tensor, index: int) -> Tensor:
        """Where material points (N, 2), heart frame, appear in frame `index`: (N, 2) pixels."""
        return self.spec.imaging.to_pixels(self._scanned(points, index / self.spec.frame_rate_hz))

    def material_points(self, n_points: int, wall_share: float = 0.9, n_frames: int = 1) -> Tensor:
        """Random query points (n_points, 2), heart frame: mostly in the tracked wall, always in the sector."""
        scatterers, heart = self._scatterers, self.spec.heart
        order = torch.randperm(len(scatterers.points), generator=self._generator, device=self.device)
        candidates = scatterers.points[order[scatterers.is_followable[order]]]
        for index in sorted({0, n_frames // 3, (2 * n_frames) // 3, n_frames - 1}):
            seen = self._scanned(candidates, index / self.spec.frame_rate_hz)
            candidates = candidates[self.spec.imaging.in_sector(seen)]
        depth = heart.wall_coordinate(candidates)
        in_wall = heart.is_tracked_wall(candidates) & (depth > 0.05) & (depth < 0.95)
        n_beside = min(n_points - round(wall_share * n_points), int((~in_wall).sum()))
        return torch.cat((candidates[in_wall][: n_points - n_beside], candidates[~in_wall][:n_beside]))

    def _scanned(self, points: Tensor, time_s: float) -> Tensor:
        """Probe-frame places (N, 2) at the moment each one's line is fired, to first order in the sweep."""
        here = self.spec.heart.position(points, time_s)
        sweep = self.spec.imaging.sweep_s
        if sweep == 0.0:
            return here
        later = self.spec.heart.position(points, time_s + sweep)
        return here + (later - here) * (self.spec.imaging.line_delay_s(here) / sweep)[:, None]


def simulate_clip(
    spec: PhantomSpec, n_frames: int = 0, n_points: int = 128, n_contour: int = 61, device: torch.device | str = "cpu"
) -> PhantomClip:
    """Render a clip with truth for random material points and the mid-wall contour; 0 frames: one whole beat."""
    heart, rate = spec.heart, spec.frame_rate_hz
    n_frames = n_frames or frames_of_a_beat(spec)
    phantom = Phantom(spec, device)
    points = phantom.material_points(n_points, n_frames=n_frames)
    contour = heart.contour(n_contour).to(device)
    frames = np.stack([phantom.frame(k) for k in range(n_frames)])
    tracks = torch.stack([phantom.truth(points, k) for k in range(n_frames)], 1)
    walls = torch.stack([phantom.truth(contour, k) for k in range(n_frames)], 1)
    visible = torch.stack([spec.imaging.in_sector(spec.imaging.to_mm(tracks[:, k]), 0.5) for k in range(n_frames)], 1)
    depth = torch.where(heart.is_tracked_wall(points), heart.wall_coordinate(points), torch.nan)
    time_s = np.arange(n_frames) / rate
    state = np.array([heart.state(t) for t in time_s], np.float32)
    ed_frames = tuple(round(t * rate) for t in heart.rhythm.ed_s if 0 <= round(t * rate) < n_frames)
    return PhantomClip(
        frames=frames,
        tracks=tracks.float().cpu().numpy(),
        visible=visible.cpu().numpy(),
        wall_depth=depth.float().cpu().numpy(),
        contour=walls.float().cpu().numpy(),
        time_s=time_s,
        state=state,
        phase=np.array([heart.rhythm.phase(t) for t in time_s], np.float32) % 1,  # just below 1 may round to it
        query_frame=_diastasis_frame(heart, time_s),
        frame_rate_hz=rate,
        mm_per_px=(spec.imaging.mm_per_px,) * 2,
        ed_frames=ed_frames,
        es_frames=_end_systoles(state, ed_frames),
    )


def frames_of_a_beat(spec: PhantomSpec) -> int:
    """From the first frame to the same phase one beat later, both counted."""
    _, _, period = spec.heart.rhythm.beat_at(0.0)
    return round(period * spec.frame_rate_hz) + 1


def _diastasis_frame(heart: Subject, time_s: NDArray[np.float64]) -> int:
    """The frame nearest the middle of diastasis of its beat; of a beat without one, nearest end-diastole."""
    quiet = np.array([heart.rhythm.quiet_s(beat) for beat in range(len(heart.rhythm.ed_s) - 1)])
    return int(np.abs(time_s[:, None] - quiet).min(1).argmin())


def _end_systoles(state: NDArray[np.float32], ed_frames: tuple[int, ...]) -> tuple[int, ...]:
    """The most contracted frame of each beat that begins in the clip and relaxes before its end."""
    bounds = [*ed_frames, len(state)]
    peaks = ((int(state[a:b].argmax()) + a, b) for a, b in pairwise(bounds) if b - a > 2)
    return tuple(peak for peak, end in peaks if state[end - 1] < state[peak])
