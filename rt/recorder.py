"""The recordings of a daemon: one file for each stream that a client wants recorded.

A thread writes, so that a slow disk never holds up a stream. What waits for it is bounded: beyond that messages are
left out, counted, and the count is told when the recording ends.
"""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from specktrack.rt.config import RecordConfig
from specktrack.rt.errors import ControlError
from specktrack.rt.packing import Part, size_of, view_of
from specktrack.rt.recording import FRAME_TOPIC, SUFFIX, RecordingWriter

_MIB = 2**20
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finished:
    """What a recording holds."""

    path: Path
    frames: int
    left_out: int  # messages, because the disk did not keep up
    trouble: str = ""  # why it ended before it was asked to


class Recording:
    """One file being written."""

    def __init__(self, path: Path, config: RecordConfig) -> None:
        """Raises OSError."""
        self.path = path
        self._writer = RecordingWriter(path)
        self._room = config.waiting_mib * _MIB
        self._left = config.max_gib * 1024 * _MIB
        self._waiting: queue.SimpleQueue[tuple[int, list[Part]] | None] = queue.SimpleQueue()
        self._n_bytes = 0  # that wait; changed under the lock
        self._lock = threading.Lock()
        self._frames = self._left_out = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"recording {path.name}", daemon=True)
        self._thread.start()

    def add(self, parts: Sequence[Part]) -> None:
        """Have a message written; never waits."""
        size = sum(size_of(part) for part in parts)
        with self._lock:
            if self.trouble or self._n_bytes + size > self._room:
                self._left_out += 1
                return
            self._n_bytes += size
        self._waiting.put((time.monotonic_ns(), list(parts)))

    def finish(self) -> Finished:
        """Write what waits and close the file."""
        self._waiting.put(None)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            self.trouble = self.trouble or "the disk is too slow; the end is still being written"
        return Finished(self.path, self._frames, self._left_out, self.trouble)

    def _run(self) -> None:
        with closing(self._writer):
            while (message := self._waiting.get()) is not None:
                t_ns, parts = message
                size = sum(size_of(part) for part in parts)
                with self._lock:
                    self._n_bytes -= size
                self._left -= size
                self._write(t_ns, parts)

    def _write(self, t_ns: int, parts: list[Part]) -> None:
        if self._left < 0:
            self.trouble = self.trouble or "it has reached record.max_gib; start another"
        if not self.trouble:
            try:
                self._writer.write(t_ns, parts)
            except OSError as error:
                self.trouble = f"it cannot be written ({error.strerror}); make room on the disk"
            else:
                self._frames += bytes(view_of(parts[0])[: len(FRAME_TOPIC)]) == FRAME_TOPIC
                return
        with self._lock:
            self._left_out += 1


class Recordings:
    """All recordings of a daemon, by stream."""

    def __init__(self, config: RecordConfig) -> None:
        self._config = config
        self._running: dict[str, Recording] = {}

    def start(self, stream: str, path: str | None) -> Path:
        """Begin a recording; raises ControlError where there is one, or the file may not or cannot be made."""
        if stream in self._running:
            raise ControlError("already_recording", f"'{stream}' is being recorded to {self._running[stream].path}.")
        file = self._file(stream, path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._running[stream] = Recording(file, self._config)
        except FileExistsError as error:
            raise ControlError("bad_path", f"{file} exists already; give another path.") from error
        except OSError as error:
            raise ControlError("failed", f"{file} cannot be written ({error.strerror}); see record.folder.") from error
        return file

    def stop(self, stream: str) -> Finished:
        """End a recording; raises ControlError where there is none."""
        recording = self._running.pop(stream, None)
        if recording is None:
            raise ControlError("not_recording", f"'{stream}' is not being recorded; start it first.")
        return recording.finish()

    def add(self, stream: str, parts: Sequence[Part]) -> None:
        """A message of a stream, written if the stream is being recorded."""
        if (recording := self._running.get(stream)) is not None:
            recording.add(parts)

    def is_recording(self, stream: str) -> bool:
        """Will messages of the stream be written?"""
        return stream in self._running

    def ended(self) -> dict[str, Finished]:
        """Recordings that ended by themselves since the last call, by stream."""
        return {name: self.stop(name) for name in [n for n, r in self._running.items() if r.trouble]}

    def close(self) -> dict[str, Finished]:
        """End all of them."""
        return {name: self.stop(name) for name in list(self._running)}

    def _file(self, stream: str, path: str | None) -> Path:
        """Where to write: within the configured folder, wherever links lead."""
        folder = Path(self._config.folder).expanduser().resolve()
        name = path or f"{stream}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        try:
            file = (folder / (name.removesuffix(SUFFIX) + SUFFIX)).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL, a loop of links
            raise ControlError("bad_path", f"record: {name!r} is no path; give a file name.") from error
        if not file.is_relative_to(folder) or file == folder:
            raise ControlError("bad_path", f"record: {name} is outside {folder}; give a name within it.")
        return file
