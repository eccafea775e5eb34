"""What TensorRT says, kept: a failed call returns None or False without a reason, the reason is in the log."""

import logging
from collections import deque

import tensorrt as trt

log = logging.getLogger(__name__)

KEPT_LINES = 6


class TrtLog(trt.ILogger):  # type: ignore[misc]
    """Goes to Python's log and remembers its last complaints. Kept alive by whoever made it; called from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._complaints: deque[str] = deque(maxlen=KEPT_LINES)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self._complaints.append(msg.strip())
            log.debug("TensorRT: %s", msg)
        elif severity == trt.ILogger.WARNING:
            log.debug("TensorRT: %s", msg)

    def reason(self) -> str:
        """The last complaints in one line."""
        return " | ".join(" ".join(line.split()) for line in self._complaints) or "TensorRT gave no reason"
