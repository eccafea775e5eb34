import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from specktrack.training.contact_sheet import CELL_PX, GRAY_LEVELS, LABEL_PX, main
from specktrack.training.views import VIEWS


def draw(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["contact_sheet", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_sheet_shows_every_view_at_two_moments_and_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sheet.png"
    assert draw(monkeypatch, "--out", str(path), "--clips", "1") == 0
    sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (len(VIEWS) * (LABEL_PX + CELL_PX), 2 * CELL_PX)
    assert len(np.unique(sheet)) <= GRAY_LEVELS
    assert path.stat().st_size < 200_000
    cells = sheet.reshape(len(VIEWS), LABEL_PX + CELL_PX, 2, CELL_PX)[:, LABEL_PX:].astype(int)
    assert (cells.std((1, 3)) > 10).all()  # a picture in each
    assert (np.abs(cells[:, :, 0] - cells[:, :, 1]).mean((1, 2)) > 2).all()  # of another moment


@pytest.mark.parametrize("name", ["nowhere/sheet.png", "sheet.jpg"])
def test_a_place_that_cannot_hold_the_sheet_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(monkeypatch, "--out", str(tmp_path / name)) == 2
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1
