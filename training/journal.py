"""What a run writes down while it trains: losses.csv and TensorBoard."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class Journal:
    """One row, means since the last, for every `every` steps and for the last; rows after a resumed step are cut off.

    folder   None: writes nothing, as every process but the first of several
    pending  values of steps not yet in a row; part of a checkpoint, so that a resumed run writes the same numbers
    names    of the values
    """

    def __init__(
        self, folder: Path | None, step: int, last: int, every: int, pending: list[list[float]], names: Sequence[str]
    ) -> None:
        self._last = last
        self._every = every
        self._files = _Files(folder, step, [*names, "learning_rate"]) if folder else None
        self._start = time.monotonic()
        self.pending = pending
        self.means = [float("nan")] * len(names)  # of the last row

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._files:
            self._files.close()

    def add(self, step: int, values: list[float], rate: float) -> None:
        """Take in the step just made."""
        self.pending.append(values)
        if step % self._every and step != self._last:
            return
        self.means = [sum(column) / len(column) for column in zip(*self.pending, strict=True)]
        self.pending.clear()
        if self._files:
            self._files.write(step, self.means, rate, time.monotonic() - self._start)


class _Files:
    """losses.csv and the TensorBoard of a run."""

    def __init__(self, folder: Path, step: int, names: list[str]) -> None:
        self._names = names
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "losses.csv"
        kept = _rows_until(path, step)
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["step", *names, "elapsed_s"])
        self._writer.writerows(kept)
        self._file.flush()
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, means: list[float], rate: float, elapsed_s: float) -> None:
        self._writer.writerow([step, *(f"{m:.5f}" for m in means), f"{rate:.3e}", f"{elapsed_s:.1f}"])
        self._file.flush()
        for name, value in zip(self._names, [*means, rate], strict=True):
            self._board.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _rows_until(path: Path, step: int) -> list[list[str]]:
    """Rows of an earlier run up to a step."""
    if not step or not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= step]
