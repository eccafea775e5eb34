"""Slow: the exported files against the network, on 200 phantom frames and on the real clip (`pytest -m bench -s`)."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from specktrack.export.cli import app
from specktrack.rt.manifest import load_manifest


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_the_shipped_network_exports_within_its_bounds_on_phantom_and_real_heart(
    tmp_path: Path, shared_folder: Path
) -> None:
    clips = shared_folder / "clips"
    options = ("--verify", clips / "a4c.mp4", "--contour", clips / "a4c_contour.json", "--frames", 200)
    result = CliRunner().invoke(app, [str(a) for a in ("specknet-s", "--out", tmp_path, "--onnx-only", *options)])
    print(result.output)
    assert result.exit_code == 0, result.exception
    parity = load_manifest(tmp_path / "specknet-s.onnx").parity
    assert parity is not None
    assert parity.max_px < 0.002
    assert parity.frames == 245
