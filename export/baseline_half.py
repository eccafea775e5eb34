"""The FP16 file of another tracker: as much in half precision as keeps its points where the network has them.

Plans, from the fastest: heads alone in FP32 (what they say are positions); heads and what leads to them; every
refinement, so that the encoder alone is half; the encoder and all but the products of the correlations. The first that
is good enough is taken, measured with the weights at hand: how much rounding matters is the weights' business.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from specktrack.export.audit import audit
from specktrack.export.baseline_parity import MOST_PX, FileParity
from specktrack.export.baselines import Baseline
from specktrack.export.half import PrecisionPlan, to_half
from specktrack.rt.errors import InputError

REFINEMENTS, BEGINNING = "refine*/*", "begin/*"


def plans(baseline: Baseline) -> list[tuple[str, ...]]:
    """Islands of FP32, each list wider than the one before."""
    return [
        baseline.heads,
        (*baseline.heads, *baseline.middles),
        (*baseline.heads, *baseline.middles, REFINEMENTS),
        (*baseline.heads, *baseline.middles, BEGINNING),
    ]


def write_half(
    model: onnx.ModelProto, baseline: Baseline, path: Path, measure: Callable[[Path], FileParity]
) -> FileParity:
    """Write the first good one of the plans; its parity. Raises InputError where none is good.

    measure  how far a file is from the network
    """
    best = float("inf")
    for islands in plans(baseline):
        half = to_half(model, PrecisionPlan(islands=islands))
        audit(half, coordinates=baseline.coordinates)
        onnx.save(half, str(path))
        parity = measure(path)
        if parity.is_good:
            return replace(parity, islands=islands)
        best = min(best, parity.p99_px)
    path.unlink()
    raise InputError(
        f"{path.name}: none of the FP32 islands leaves less than {best:.2f} px (p99); {MOST_PX['fp16']} are allowed; "
        "use the FP32 file with these weights"
    )
