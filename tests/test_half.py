"""Half precision goes where the plan lets it, and what reads the finished file again finds every misplaced half."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, parser

from specktrack.export.audit import audit, half_nodes
from specktrack.export.half import COMPUTE, FOLLOW, PrecisionPlan, element_types, to_half
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import find_model

TRACKER = """<ir_version: 8, opset_import: ["" : 18]>
tracker (float[1,2,8,8] image, float[4,2] points, float[2,2,3,3] kernel, float[2,2] head) => (float[4,2] moved)
<float[1] bias = {0.5}, int64[2] axes = {2, 3}> {
    [conv] features = Conv <pads = [1, 1, 1, 1]> (image, kernel)
    [relu] active = Relu (features)
    [square] squared = Mul (active, active)
    [mean] pooled = ReduceMean <keepdims = 0> (squared, axes)
    [layer] step = MatMul (pooled, head)
    [shift] shift = Add (step, bias)
    [move] moved = Add (points, shift)
}"""

SAMPLER = """<ir_version: 10, opset_import: ["" : %d]>
sampler (float[1,2,8,8] image, float[1,4,1,2] grid) => (float[1,2,4,1] sampled) {
    [look] sampled = GridSample <mode = "%s"> (image, grid)
}"""

ROUNDER = """<ir_version: 8, opset_import: ["" : 18]>
rounder (float[9,2] features, float[4,2] points) => (float[4,2,2] found)
<float[1] stride = {8.0}> {
    [to_half] halved = Cast <to = 10> (points)
    [shift] cells = Sub (halved, halved)
    [back] wide = Cast <to = 1> (cells)
    [down] low = Floor (wide)
    [index] whole = Cast <to = 7> (low)
    [read] found = Gather (features, whole)
}"""
POINTS = ("points", "moved")
WITH_FP32_STEP = PrecisionPlan(islands=("layer",))


def tracker() -> ModelProto:
    """A toy that moves points by what an image says."""
    return parser.parse_model(TRACKER)


def ran(model: ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    shapes = {"image": (1, 2, 8, 8), "kernel": (2, 2, 3, 3), "head": (2, 2)}
    fed = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    fed["points"] = np.full((4, 2), 300.3, np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, fed)[0]


def test_the_shipped_network_is_half_up_to_its_features_whose_length_is_taken_in_fp32() -> None:
    half = to_half(onnx.load(str(find_model("specknet-s"))), PrecisionPlan())
    types = element_types(half)
    by_operator = {node.op_type: types[node.output[0]] for node in half.graph.node}
    assert by_operator["Conv"] == by_operator["Relu"] == TensorProto.FLOAT16
    for operator in ("Pow", "ReduceSum", "Sqrt", "Reciprocal", "Mul", "Transpose"):
        assert by_operator[operator] == TensorProto.FLOAT
    assert len([node for node in half.graph.node if node.op_type == "Cast"]) == 4, "one in, one for each scale"
    assert all(types[value.name] == TensorProto.FLOAT for value in (*half.graph.input, *half.graph.output))
    audit(half)


def test_a_typed_file_runs_and_stays_near_the_fp32_one() -> None:
    half = ran(to_half(tracker(), WITH_FP32_STEP))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, ran(tracker()), atol=0.02)


def test_squares_statistics_and_sums_with_coordinates_stay_fp32_without_being_named() -> None:
    half = to_half(tracker(), PrecisionPlan())
    types = element_types(half)
    assert types["active"] == TensorProto.FLOAT16
    assert types["squared"] == types["pooled"] == types["moved"] == TensorProto.FLOAT
    assert "conv" in half_nodes(half)
    assert "square" not in half_nodes(half)


def test_the_layer_that_says_how_far_a_point_moves_must_be_an_island() -> None:
    """The audit names it, the plan makes it an island, the audit is content."""
    with pytest.raises(InputError, match=r"node layer \(MatMul\): step is FP16 and a coordinate"):
        audit(to_half(tracker(), PrecisionPlan()), coordinates=POINTS)
    audit(to_half(tracker(), WITH_FP32_STEP), coordinates=POINTS)


def test_a_plan_that_lets_a_power_be_half_is_found_by_reading_the_file() -> None:
    wrong = PrecisionPlan(compute=COMPUTE | {"Pow"}, follow=FOLLOW | {"ReduceSum"})
    with pytest.raises(InputError, match=r"node node_pow_\d \(Pow\): .* is FP16 and FP32 by rule"):
        audit(to_half(onnx.load(str(find_model("specknet-s"))), wrong))


def test_a_position_that_goes_through_fp16_on_its_way_to_an_index_is_found_without_a_name() -> None:
    with pytest.raises(InputError, match=r"node to_half \(Cast\): halved is FP16 and a coordinate"):
        audit(parser.parse_model(ROUNDER))


def test_a_matching_graph_may_hold_no_half_at_all() -> None:
    with pytest.raises(InputError, match=r"node cast_to_image/half \(Cast\): image/half is FP16 and FP32 by rule"):
        audit(to_half(tracker(), WITH_FP32_STEP), is_half_allowed=False)
    audit(tracker(), is_half_allowed=False)


def test_sampling_that_tensorrt_would_run_as_nearest_is_refused_by_name() -> None:
    audit(parser.parse_model(SAMPLER % (18, "bilinear")))
    for opset, mode in ((20, "linear"), (20, "cubic"), (18, "nearest")):
        with pytest.raises(InputError, match=rf"node look: GridSample {mode} of opset {opset} runs as nearest"):
            audit(parser.parse_model(SAMPLER % (opset, mode)))


def edit_loop(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


def edit_domain(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def edit_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 21


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (edit_loop, "node conv: Loop must not be"),
        (edit_domain, "node conv: Conv is of the foreign domain com.example"),
        (edit_opset, "opset 21: expected 16 to 19; export again at opset 18"),
    ],
)
def test_what_a_device_cannot_run_is_named(edit: Callable[[ModelProto], None], complaint: str) -> None:
    model = tracker()
    edit(model)
    with pytest.raises(InputError, match=complaint):
        audit(model)


def test_a_coordinate_that_the_graph_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="elsewhere: no such input or output"):
        audit(tracker(), coordinates=("elsewhere",))


def test_an_island_that_names_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"island heads\.\*: no node or value has such a name"):
        to_half(tracker(), PrecisionPlan(islands=("heads.*",)))


def test_a_weight_beyond_fp16_is_named() -> None:
    model = tracker()
    model.graph.initializer.append(helper.make_tensor("kernel", TensorProto.FLOAT, (2, 2, 3, 3), [1e5] * 36))
    model.graph.input.remove(next(value for value in model.graph.input if value.name == "kernel"))
    with pytest.raises(InputError, match=r"weight kernel: 1e\+05 is beyond FP16; name its node an island"):
        to_half(model, PrecisionPlan())


def test_the_fp32_model_is_left_as_it_was() -> None:
    model = tracker()
    before = model.SerializeToString()
    to_half(model, PrecisionPlan())
    assert model.SerializeToString() == before
