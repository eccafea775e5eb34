"""Runs EchoTracker on a golden case; array names are those of the goldens' README."""

from typing import Any

import torch
from golden_cases import Arrays

from specktrack.training.echotracker import FINE, EchoTracker, frame_differences
from specktrack.training.point_tracker import follow_echotracker
from specktrack.training.window_correlation import motion_encoding, read_template

INPUTS = {"video", "points_xy", "points_norm"}


def build() -> EchoTracker:
    return EchoTracker("2024").eval()


@torch.no_grad()
def run(network: EchoTracker, params: dict[str, Any], arrays: Arrays) -> Arrays:
    video = torch.from_numpy(arrays["video"]).permute(0, 3, 1, 2).float()
    if params["kind"] == "infer":
        size = tuple(params["resize"])
        limit = torch.tensor([size[1] - 1.0, size[0] - 1.0])
        points = torch.from_numpy(arrays["points_norm"]) * limit
        return {"tracks_norm": (follow_echotracker(network, video, points, size) / limit).numpy()}
    points = torch.from_numpy(arrays["points_xy"])
    features = network.encode(video)
    predictions = network(features, points, params["iters"])
    return {
        "preds": predictions.permute(0, 2, 1, 3).numpy(),
        **_intermediates(network, features, points, predictions, arrays),
    }


def _intermediates(
    network: EchoTracker, features: Any, points: torch.Tensor, predictions: torch.Tensor, arrays: Arrays
) -> Arrays:
    differences = frame_differences(features.small)
    still = (points / 8)[:, None].repeat(1, len(differences), 1)
    seen, _, around = network.coarse_input(features, still, differences, torch.zeros(1, dtype=torch.long))
    coarse = network.delta_block_spatial
    cells = predictions[0] / FINE
    first = read_template(features.fine[0], cells[:, 0], torch.zeros(len(points), dtype=torch.long))
    correlation = network.fine_correlation(features.fine, cells, first)
    told = network.fine_input(features.fine, cells, first, cells[:, 0], differences)
    flow = motion_encoding(cells, 64)[..., -2:]
    found = {
        "fnet_first_last": features.coarse[[0, -1]].permute(0, 3, 1, 2),
        "fnet_fine_first": features.fine[0][0].permute(2, 0, 1),
        "spatial_fcorr": seen,
        "spatial_flow": around[..., 64:66],
        "spatial_xy0": around[..., -2:],
        "frameflow_pt0": differences,
        "spatial_dense_in_pt0": coarse.features(seen, differences, around)[0],
        "spatial_delta": predictions[0] / 8 - still,
        "fine_corr_iter0": correlation,
        "fine_fcorr_iter0": told[0],
        "fine_flow_iter0": flow,
        "fine_xy0": told[2][..., -2:],
        "fine_dense_in_iter0_pt0": network.delta_block_temporal.features(*told)[0],
        "fine_delta": predictions.diff(dim=0) / FINE,
    }
    return {name: _cut(value.numpy(), arrays[name].shape) for name, value in found.items() if name in arrays}


def _cut(value: Any, shape: tuple[int, ...]) -> Any:
    """Goldens keep only the first channels or points of large arrays."""
    return value[: shape[0]]
