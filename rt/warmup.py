"""Everything that compiles or allocates at its first call does so before the sockets answer."""

import logging
import time

import numpy as np

from specktrack.rt import blas, strain, strain_rate, wall_motion
from specktrack.rt.config import SessionConfig
from specktrack.rt.engine import Engine
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.late_session import open_session
from specktrack.rt.phase import PhaseTracker
from specktrack.rt.windowed import WindowedEngine

log = logging.getLogger(__name__)

WARM_UP_FRAMES = 8
SIDE_PX = 256
PHASE_SIDE_PX, PHASE_RATE_HZ = 32, 30.0
PHASE_FRAMES, FRAMES_PER_BEAT = 150, 26  # five seconds at 70 beats a minute


def warm_up(engine: Engine | WindowedEngine, config: SessionConfig) -> None:
    """Run a throw-away session over a few frames of noise with a contour: loads kernels, settles engine and BLAS."""
    started_s = time.monotonic()
    blas.on_one_thread()
    session = open_session("warm-up", config, engine)
    rng = np.random.default_rng(0)
    angles = np.linspace(0.0, np.pi, 13)
    contour = np.stack([128 + 60 * np.cos(angles), 200 - 140 * np.sin(angles)], axis=1).astype(np.float32)
    for seq in range(WARM_UP_FRAMES):
        pixels = rng.integers(0, 255, (SIDE_PX, SIDE_PX), np.uint8)
        session.answers(Frame("warm-up", seq, seq * 20_000_000, "monotonic", pixels, Geometry(SIDE_PX, SIDE_PX)))
        if seq == 0:
            session.set_points(contour, "contour")
    session.finish()
    session.catch_up()
    strain.warm_up()
    strain_rate.warm_up()
    wall_motion.warm_up()
    _warm_phase(config)
    log.info("warmed up %s on %s in %.1f s", engine.model, engine.name, time.monotonic() - started_s)


def _warm_phase(config: SessionConfig) -> None:
    """A few seconds of a picture that beats: the kernels of the phase are first asked when a period can be seen."""
    phase = PhaseTracker(config.phase)
    y, x = np.mgrid[:PHASE_SIDE_PX, :PHASE_SIDE_PX] / PHASE_SIDE_PX - 0.5
    distance = np.hypot(x, y)
    for k in range(PHASE_FRAMES):
        radius = 0.3 + 0.05 * np.cos(2 * np.pi * k / FRAMES_PER_BEAT)
        image = (100 + 80 * np.cos(40 * distance / radius)).astype(np.uint8)
        phase.update(k / PHASE_RATE_HZ, image, float(radius), None, ())
