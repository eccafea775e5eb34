"""Where training clips come from: folders mixed by weight, and a cache that forgets the clips longest unused."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field
from rich.progress import track

from specktrack.rt.settings import Section
from specktrack.rt.still_picture import StillPicture
from specktrack.training.clip_format import TrainingClip, check_clip, clip_files, load_clip


class Source(Section):
    """A folder of clips; the weight is its share of the examples, however many clips it holds."""

    folder: str
    weight: float = Field(default=1.0, gt=0)
    still_share: float = Field(default=0.0, ge=0, le=1)  # of what stands still, taken out as the stream does


class ClipPool:
    """The clips of some sources, decoded when asked for; at most `cache_mb` of them stay in memory.

    Raises InputError when a folder has no clip, and on reading a clip that is malformed.
    """

    def __init__(self, sources: Sequence[Source], cache_mb: float = 1024.0) -> None:
        folders = [clip_files(Path(source.folder)) for source in sources]
        self._files = [file for folder in folders for file in folder]
        self._still_shares = [s.still_share for f, s in zip(folders, sources, strict=True) for _ in f]
        shares = [np.full(len(f), s.weight / len(f)) for f, s in zip(folders, sources, strict=True)]
        self._bounds = np.cumsum(np.concatenate(shares))
        self._cache_mb = cache_mb
        self._clips: OrderedDict[int, TrainingClip] = OrderedDict()  # longest unused first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> TrainingClip:
        if index in self._clips:
            self._clips.move_to_end(index)
            return self._clips[index]
        clip = _cleaned(load_clip(self._files[index]), self._still_shares[index])
        self._clips[index] = clip
        self._bytes += _size_of(clip)
        while self._bytes > self._cache_mb * 1e6 and len(self._clips) > 1:
            self._bytes -= _size_of(self._clips.popitem(last=False)[1])
        return clip

    def draw(self, rng: np.random.Generator) -> int:
        """Index of a random clip: the source by its weight, then any of its clips."""
        return int(np.searchsorted(self._bounds, rng.uniform(0, self._bounds[-1]), side="right"))

    def check(self, n_frames: int, quiet: bool = False) -> None:
        """Look at every clip before a run, so that a malformed one stops it now and not after hours.

        n_frames  as many frames as an example spans; raises InputError with the sentence of the first wrong clip
        """
        for file in track(self._files, description="checking clips", transient=True, disable=quiet):
            check_clip(file, n_frames)


def _cleaned(clip: TrainingClip, still_share: float) -> TrainingClip:
    """The clip without a share of what stands still in it."""
    if still_share == 0.0:
        return clip
    still = StillPicture.of(clip.frames, still_share)
    return replace(clip, frames=np.stack([still.taken_out(frame) for frame in clip.frames]))


def _size_of(clip: TrainingClip) -> int:
    return clip.frames.nbytes + clip.tracks.nbytes + clip.visible.nbytes
