"""The matching head as ONNX, for engines whose features stay on a device: templates at points, evidence around places.

Both graphs are weightless and FP32 throughout, whatever precision the encoder has: indices, powers and logarithms of
products do not survive half precision. They are the twins of `rt/correlation.py` and read the same volume:

- sampling is Gather and products with hat functions (max(0, 1 - |x|) is bilinear interpolation), never GridSample;
- the square is SIDE wide; the engine asks for larger ones by overlapping squares, for smaller ones by cutting;
- points N and templates K stay symbolic. Lost (NaN) points are the engine's business: none may come in.

Written in ONNX's own text form: what runs on the device is what stands here, operator by operator.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import parser

from specktrack.export.audit import audit
from specktrack.export.half import constants_to_initializers
from specktrack.rt.correlation import FLOOR, STRIDES
from specktrack.rt.head_kernel import CELL_OFFSET_PX

OPSET = 18
MAPS = ("fine", "middle", "coarse")
SIDE = 21  # what a frame's measurement searches in an image of 256

# (N, n * n, C): the cells of the square of n x n that starts at first_i (N, 2), whole numbers x, y; borders repeat.
CELLS = """
    first_x_{i} = Gather <axis = 1> (first_{i}, zero)
    first_y_{i} = Gather <axis = 1> (first_{i}, one)
    column_{i} = Unsqueeze (first_x_{i}, axis_1)
    row_{i} = Unsqueeze (first_y_{i}, axis_1)
    steps_{i} = Constant <value = float[{n}] {{{steps}}}> ()
    columns_far_{i} = Add (column_{i}, steps_{i})
    rows_far_{i} = Add (row_{i}, steps_{i})
    last_x_{i} = Constant <value = float {{{last_x}.0}}> ()
    last_y_{i} = Constant <value = float {{{last_y}.0}}> ()
    columns_{i} = Clip (columns_far_{i}, nought, last_x_{i})
    rows_{i} = Clip (rows_far_{i}, nought, last_y_{i})
    width_{i} = Constant <value = float {{{width}.0}}> ()
    row_starts_{i} = Mul (rows_{i}, width_{i})
    down_{i} = Unsqueeze (row_starts_{i}, axis_2)
    across_{i} = Unsqueeze (columns_{i}, axis_1)
    grid_{i} = Add (down_{i}, across_{i})
    grid_shape_{i} = Constant <value = int64[2] {{-1, {area}}}> ()
    flat_{i} = Reshape (grid_{i}, grid_shape_{i})
    index_{i} = Cast <to = 7> (flat_{i})
    map_shape_{i} = Constant <value = int64[2] {{-1, {channels}}}> ()
    cells_{i} = Reshape ({name}, map_shape_{i})
    patch_{i} = Gather <axis = 0> (cells_{i}, index_{i})
"""
# (N, S, 2, n): the weights with which positions at_i (N, S, 2), cells, read the n cells from first_i on.
WEIGHTS = """
    from_{i} = Unsqueeze (first_{i}, axis_1)
    inner_{i} = Sub (at_{i}, from_{i})
    inner_wide_{i} = Unsqueeze (inner_{i}, axis_3)
    apart_{i} = Sub (inner_wide_{i}, steps_{i})
    far_{i} = Abs (apart_{i})
    near_{i} = Sub (unity, far_{i})
    hat_{i} = Max (near_{i}, nought)
    by_column_{i} = Gather <axis = 2> (hat_{i}, zero)
    by_row_{i} = Gather <axis = 2> (hat_{i}, one)
"""
POSITIONS = """
    stride_{i} = Constant <value = float {{{stride}.0}}> ()
    at_{i} = Div (places, stride_{i})
    start_{i} = Gather <axis = 1> (at_{i}, zero)
    first_{i} = Floor (start_{i})
"""
SAMPLE = """
    upper_{i} = Unsqueeze (by_row_{i}, axis_3)
    left_{i} = Unsqueeze (by_column_{i}, axis_2)
    areas_{i} = Mul (upper_{i}, left_{i})
    areas_shape_{i} = Constant <value = int64[3] {{-1, {area}, 1}}> ()
    areas_flat_{i} = Reshape (areas_{i}, areas_shape_{i})
    weighted_{i} = Mul (patch_{i}, areas_flat_{i})
    value_{i} = ReduceSum <keepdims = 0> (weighted_{i}, axis_1)
    length_{i} = ReduceL2 <keepdims = 1> (value_{i}, axis_1)
    longer_{i} = Max (length_{i}, tiny)
    template_{i} = Div (value_{i}, longer_{i})
"""
MATCH = """
    by_point_{i} = Transpose <perm = [1, 0, 2]> (part_{i})
    by_cell_{i} = Transpose <perm = [0, 2, 1]> (patch_{i})
    cosine_{i} = MatMul (by_point_{i}, by_cell_{i})
    halved_{i} = Mul (cosine_{i}, half)
    shifted_{i} = Add (halved_{i}, half)
    similarity_{i} = Max (shifted_{i}, floor)
    power_{i} = Pow (similarity_{i}, gamma)
    square_shape_{i} = Constant <value = int64[4] {{0, 0, {n}, {n}}}> ()
    square_{i} = Reshape (power_{i}, square_shape_{i})
    row_weights_{i} = Unsqueeze (by_row_{i}, axis_1)
    column_weights_{i} = Unsqueeze (by_column_{i}, axis_1)
    rows_read_{i} = MatMul (row_weights_{i}, square_{i})
    column_turned_{i} = Transpose <perm = [0, 1, 3, 2]> (column_weights_{i})
    volume_{i} = MatMul (rows_read_{i}, column_turned_{i})
    log_{i} = Log (volume_{i})
"""
SHARED = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    axis_1 = Constant <value = int64[1] {1}> ()
    axis_2 = Constant <value = int64[1] {2}> ()
    axis_3 = Constant <value = int64[1] {3}> ()
    nought = Constant <value = float {0.0}> ()
    unity = Constant <value = float {1.0}> ()
"""


def sample_graph(channels: Sequence[int], size: tuple[int, int]) -> onnx.ModelProto:
    """Maps (h, w, C_i) and points (N, 2), pixels, to `templates` (N, C_1 + C_2 + C_3), unit length per scale."""
    body = f"""{SHARED}
    tiny = Constant <value = float {{0.000001}}> ()
    offset = Constant <value = float {{{CELL_OFFSET_PX}}}> ()
    moved = Sub (points, offset)
    places = Unsqueeze (moved, axis_1)
    """
    for scale in _scales(channels, size, lambda _stride: 2):
        body += "".join(part.format(**scale) for part in (POSITIONS, CELLS, WEIGHTS, SAMPLE))
    body += "templates = Concat <axis = 1> (template_0, template_1, template_2)"
    return _model("sample", f"{_maps(channels, size)}, float[N,2] points", f"float[N,{sum(channels)}] templates", body)


def match_graph(channels: Sequence[int], size: tuple[int, int], gamma: float, side: int = SIDE) -> onnx.ModelProto:
    """Maps (h, w, C_i), `templates` (K, N, C), `centre` (N, 2), pixels, to `evidence` (K, N, S, S)."""
    steps = ", ".join(str(k - side // 2 - CELL_OFFSET_PX) for k in range(side))
    body = f"""{SHARED}
    half = Constant <value = float {{0.5}}> ()
    floor = Constant <value = float {{{FLOOR}}}> ()
    gamma = Constant <value = float {{{gamma}}}> ()
    steps_flat = Constant <value = float[{side}] {{{steps}}}> ()
    steps = Unsqueeze (steps_flat, axis_1)
    centre_wide = Unsqueeze (centre, axis_1)
    places = Add (centre_wide, steps)
    sizes = Constant <value = int64[3] {{{", ".join(map(str, channels))}}}> ()
    part_0, part_1, part_2 = Split <axis = 2> (templates, sizes)
    """
    for scale in _scales(channels, size, lambda stride: (side - 1) // stride + 3):
        body += "".join(part.format(**scale) for part in (POSITIONS, CELLS, WEIGHTS, MATCH))
    body += """
    two_logs = Add (log_0, log_1)
    all_logs = Add (two_logs, log_2)
    evidence = Transpose <perm = [1, 0, 2, 3]> (all_logs)"""
    inputs = f"{_maps(channels, size)}, float[K,N,{sum(channels)}] templates, float[N,2] centre"
    return _model("match", inputs, f"float[K,N,{side},{side}] evidence", body)


def write_matching(path: Path, channels: Sequence[int], size: tuple[int, int], gamma: float) -> tuple[Path, Path]:
    """Write both graphs of a model file `path`, for images of size (height, width): `.sample.onnx`, `.match.onnx`."""
    made = []
    for suffix, model, coordinate in (
        (".sample.onnx", sample_graph(channels, size), "points"),
        (".match.onnx", match_graph(channels, size, gamma), "centre"),
    ):
        audit(model, coordinates=(coordinate,), is_half_allowed=False)
        made.append(path.with_suffix(suffix))
        onnx.save(model, str(made[-1]))
    return made[0], made[1]


def _scales(channels: Sequence[int], size: tuple[int, int], n_cells: Callable[[int], int]) -> Iterator[dict[str, Any]]:
    """What the templates of this module ask for, scale by scale."""
    for i, (name, stride, n_channels) in enumerate(zip(MAPS, STRIDES, channels, strict=True)):
        n = n_cells(stride)
        height, width = size[0] // stride, size[1] // stride
        yield {
            "i": i,
            "name": name,
            "stride": stride,
            "channels": n_channels,
            "n": n,
            "area": n * n,
            "steps": ", ".join(f"{k}.0" for k in range(n)),
            "width": width,
            "last_x": width - 1,
            "last_y": height - 1,
        }


def _maps(channels: Sequence[int], size: tuple[int, int]) -> str:
    shapes = zip(MAPS, STRIDES, channels, strict=True)
    return ", ".join(f"float[{size[0] // stride},{size[1] // stride},{c}] {name}" for name, stride, c in shapes)


def _model(name: str, inputs: str, output: str, body: str) -> onnx.ModelProto:
    """Parsed and checked; nodes are named after what they make."""
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {OPSET}]> {name} ({inputs}) => ({output}) {{{body}}}'
    )
    for node in model.graph.node:
        node.name = f"make_{node.output[0]}"
    constants_to_initializers(model)
    model.producer_name = "specktrack"
    onnx.checker.check_model(model, full_check=True)
    return model
