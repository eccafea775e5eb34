"""The exported matching graphs read the same evidence as the kernels of the stream, on every engine that runs them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hand_made import CHANNELS, random_maps

from specktrack.export.audit import audit
from specktrack.export.match_graph import SIDE, write_matching
from specktrack.rt.correlation import FeatureMaps, evidence, sample_templates
from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import DeviceMatcher, square_offsets
from specktrack.rt.fusion import FusionNet, steady_weights
from specktrack.rt.geometry import FloatArray
from specktrack.rt.torch_graph import TorchGraph

SIZE = 64
NAMES = ("fine", "middle", "coarse")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sampling and the matching graph for images of 64 x 64."""
    return write_matching(tmp_path_factory.mktemp("graphs") / "hand-made.onnx", CHANNELS, (SIZE, SIZE), 15.0)


class GraphMatcher(DeviceMatcher):
    """What a device engine does with the graphs, on a CPU."""

    def __init__(self, graphs: tuple[Path, Path], runner: str) -> None:
        super().__init__("hand-made", (SIZE, SIZE), FusionNet(steady_weights()), ((0, 0), (1, 1)), SIDE)
        self._run = [ort_runner(path) if runner == "onnxruntime" else torch_runner(path) for path in graphs]

    def _sample(self, features: FeatureMaps, points: FloatArray) -> FloatArray:
        return self._run[0](dict(zip(NAMES, features, strict=True)) | {"points": points})

    def _match(self, features: FeatureMaps, templates: FloatArray, centre: FloatArray) -> FloatArray:
        given = dict(zip(NAMES, features, strict=True))
        return self._run[1](given | {"templates": templates, "centre": centre})


def ort_runner(path: Path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, given)[0]


def torch_runner(path: Path):
    graph = TorchGraph(path, torch.device("cpu"))
    return lambda given: graph(**{name: torch.from_numpy(value) for name, value in given.items()})[0].numpy()


@pytest.fixture(scope="module", params=["onnxruntime", "torch"])
def matcher(request: pytest.FixtureRequest, graphs: tuple[Path, Path]) -> GraphMatcher:
    return GraphMatcher(graphs, request.param)


def scattered_points(n: int, seed: int = 0) -> FloatArray:
    """Points (N, 2) inside, at and beyond the border of the image."""
    return np.random.default_rng(seed).uniform(-6, SIZE + 6, (n, 2)).astype(np.float32)


def test_the_graphs_hold_no_half_and_no_grid_sample(graphs: tuple[Path, Path]) -> None:
    for path in graphs:
        model = onnx.load(str(path))
        audit(model, coordinates=("points" if "sample" in path.name else "centre",), is_half_allowed=False)
        assert "GridSample" not in {node.op_type for node in model.graph.node}
        assert b".py" not in path.read_bytes()


@pytest.mark.parametrize("n_points", [1, 40])
def test_templates_are_those_of_the_stream(matcher: GraphMatcher, n_points: int) -> None:
    points = scattered_points(n_points)
    np.testing.assert_allclose(
        matcher.templates(random_maps(0), points), sample_templates(random_maps(0), points), atol=1e-6
    )


@pytest.mark.parametrize("side", [11, SIDE, 31, 2 * SIDE - 1])
def test_squares_of_every_size_hold_the_evidence_of_the_stream(matcher: GraphMatcher, side: int) -> None:
    maps = random_maps(1)
    points = scattered_points(12)
    templates = np.stack([sample_templates(random_maps(k), points) for k in (1, 2)])
    centre = points + np.float32(1.3)
    found = matcher.evidence(maps, list(templates), centre, side)
    np.testing.assert_allclose(found, evidence(maps, templates, centre, side, 15.0), atol=2e-3)


def test_a_lost_point_has_an_empty_template_and_no_evidence_and_disturbs_no_other(matcher: GraphMatcher) -> None:
    maps, points = random_maps(3), scattered_points(5)
    whole = matcher.evidence(maps, [matcher.templates(maps, points)], points, SIDE)
    points[2] = np.nan
    templates = matcher.templates(maps, points)
    found = matcher.evidence(maps, [templates], points, SIDE)
    assert not templates[2].any()
    assert not found[0, 2].any()
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(found[:, others], whole[:, others], atol=1e-4)


def test_no_points_need_no_device(matcher: GraphMatcher) -> None:
    none = np.zeros((0, 2), np.float32)
    templates = matcher.templates(random_maps(0), none)
    assert len(templates) == 0
    assert matcher.evidence(random_maps(0), [templates], none, SIDE).shape == (1, 0, SIDE, SIDE)


def test_a_point_far_beyond_the_image_reads_its_border(matcher: GraphMatcher) -> None:
    far = np.array([[1e30, -1e30], [3.0, 3.0]], np.float32)
    assert np.isfinite(matcher.templates(random_maps(0), far)).all()


def test_a_square_beyond_four_overlapping_ones_is_refused() -> None:
    with pytest.raises(ValueError, match="side 43: at most 41"):
        square_offsets(43, 21)


def test_an_operator_that_torch_does_not_know_here_is_named(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { [bend] y = Softplus (x) }'
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "odd.onnx"))
    with pytest.raises(EngineError, match=r"odd\.onnx: node bend: operator Softplus is not known"):
        TorchGraph(tmp_path / "odd.onnx", torch.device("cpu"))
