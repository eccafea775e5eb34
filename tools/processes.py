"""A few processes that live and die together."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from specktrack.rt.errors import InputError

_PATIENCE_S = 10.0


class Processes:
    """Starts our commands as processes; leaving the context ends them all, the last one first."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="specktrack-")
        self._running: list[tuple[str, subprocess.Popen[str]]] = []
        self._lines: dict[int, SimpleQueue[str | None]] = {}

    def start(self, name: str, module: str, *arguments: str, niceness: int = 0) -> subprocess.Popen[str]:
        """Run a module with this Python; its messages are kept for `last_words`. A nice one yields to the others."""
        with self._log(name).open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=(lambda: os.nice(niceness)) if niceness and hasattr(os, "nice") else None,
            )
        self._running.append((name, process))
        lines = self._lines[process.pid] = SimpleQueue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        return process

    def lines(self, process: subprocess.Popen[str], timeout_s: float) -> Iterator[str]:
        """What the process prints, line by line; raises InputError when it ends or stays silent too long."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines[process.pid].get(timeout=max(deadline_s - time.monotonic(), 0.0))
            except Empty:
                raise InputError(f"{self._name(process)} is not ready after {timeout_s:.0f} s; try again") from None
            if line is None:
                process.wait()
                raise InputError(f"{self._name(process)} ended: {self.last_words(process)}")
            yield line

    def check(self, but: tuple[str, ...] = ()) -> None:
        """Raises InputError when a process has ended, other than those named in `but`."""
        for name, process in self._running:
            if process.poll() is not None and name not in but:
                raise InputError(f"{name} ended: {self.last_words(process)}")

    def last_words(self, process: subprocess.Popen[str]) -> str:
        """The last line of its messages."""
        lines = self._log(self._name(process)).read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else f"code {process.returncode}, without a message"

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.log"

    def _name(self, process: subprocess.Popen[str]) -> str:
        return next(name for name, each in self._running if each is process)

    def close(self) -> None:
        """End them all; who does not listen is killed."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(process: subprocess.Popen[str], lines: "SimpleQueue[str | None]") -> None:
    """Empties the pipe, so that the process never waits for us; None marks the end."""
    if process.stdout is not None:
        with process.stdout:
            for line in process.stdout:
                lines.put(line.rstrip())
    lines.put(None)
