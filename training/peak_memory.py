"""How much memory a tracker takes: the growth of a fresh process from before it is opened to its peak on one clip."""

import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from specktrack.rt.settings import Section
from specktrack.training.cases import ClipSource, EvalConfig, load_case
from specktrack.training.follow import open_follower
from specktrack.training.score import score_clip

STATUS = Path("/proc/self/status")
RESET_PEAK = "5"  # written to clear_refs: the peak starts again at the present size, see proc(5)
DEVICE = Path("/dev/nvidia0")


class PeakMemory(Section):
    """Growth in MB (10^6 bytes); None where this system does not tell, or has no such device."""

    host_mb: float | None
    device_mb: float | None


def peak_memory(tracker: str, source: ClipSource, settings: EvalConfig) -> PeakMemory:
    """Memory of one tracker on one clip, measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grow, tracker, source, settings).result()


def _grow(tracker: str, source: ClipSource, settings: EvalConfig) -> PeakMemory:
    case = load_case(source, settings)
    device_before = _device_bytes()
    if case is None or not STATUS.is_file():
        return PeakMemory(host_mb=None, device_mb=None)
    Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    before = _host_bytes("VmRSS")
    follower = open_follower(tracker, settings.match, settings.threads)
    score_clip(follower, case)
    host = _host_bytes("VmHWM") - before
    device_after = _device_bytes()
    follower.close()
    device = None if device_before is None or device_after is None else (device_after - device_before) / 1e6
    return PeakMemory(host_mb=host / 1e6, device_mb=device)


def _host_bytes(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return 1024 * int(found[1]) if found else 0


def _device_bytes() -> int | None:
    """In use on the first GPU: engines keep what they once took, so what is left after a clip was the peak."""
    if sys.platform != "linux" or not DEVICE.exists():
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(0)
    return total - free
