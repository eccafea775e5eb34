"""A stream that goes on and on, and what it gains meanwhile."""

import gc
import sys

from streams import SIDE, frame

from specktrack.rt.bench_run import resident_mib
from specktrack.rt.bench_scene import beating_speckle
from specktrack.rt.config import ModelConfig, SessionConfig, WindowConfig
from specktrack.rt.engine import open_engine
from specktrack.rt.session import Session

MODEL = ModelConfig(name="specknet-s", engine="onnxruntime", threads=1)


def followed(session: Session, n_frames: int, first: int = 0) -> None:
    """A stream that beats, as the daemon treats it."""
    scene = beating_speckle(SIDE, 9)
    for seq in range(first, first + n_frames):
        session.update(frame(scene.pixels(seq), seq, fps=55.0))
        session.catch_up()
        if seq == 0:
            session.set_points(scene.points, "contour")


def growth(n_settle: int, n_frames: int, n_counts: int) -> tuple[float, float]:
    """Python objects per frame, and MiB in all, that a stream gains once its rings are full.

    Counted n_counts times, over n_frames each, and the least is taken: what only fills up, the allocator's arenas
    too, comes to a stand; a leak grows every time.
    """
    engine = open_engine(MODEL)
    session = Session("endless", SessionConfig(window=WindowConfig(frames=64)), engine)
    followed(session, n_settle)
    gained: list[tuple[float, float]] = []
    for k in range(n_counts):
        gc.collect()
        blocks, mib = sys.getallocatedblocks(), resident_mib()
        followed(session, n_frames, first=n_settle + k * n_frames)
        gc.collect()
        gained.append(((sys.getallocatedblocks() - blocks) / n_frames, resident_mib() - mib))
    return min(blocks for blocks, _ in gained), min(mib for _, mib in gained)
