"""Runs PIPs++ on a golden case; array names are those of the goldens' README."""

from typing import Any

import numpy as np
import torch
from golden_cases import Arrays

from specktrack.training.pips import STRIDE, Pips, chain, windows_of
from specktrack.training.window_correlation import correlate, motion_encoding, templates_at

INPUTS = {"video", "points_xy"}


def build() -> Pips:
    return Pips().eval()


@torch.no_grad()
def run(network: Pips, params: dict[str, Any], arrays: Arrays) -> Arrays:
    video = torch.from_numpy(arrays["video"]).permute(0, 3, 1, 2).float()
    points = torch.from_numpy(arrays["points_xy"])
    pyramid = network.encode(video)
    if params["kind"] == "chain":
        windows = np.array(list(windows_of(len(video), params["S_max"])), arrays["windows"].dtype)
        tracks = chain(network, pyramid, points, params["S_max"], params["iters"])
        return {"tracks": tracks.transpose(0, 1).numpy(), "windows": windows}
    still = points[:, None].repeat(1, len(video), 1)
    refined = network(pyramid, still, params["iters"], beautify=params.get("beautify", False))
    cells = still / STRIDE
    templates = network(pyramid, still, 1).templates
    told = network.head_input(pyramid, cells, templates)
    once = refined.locked[1] / STRIDE
    again = templates_at(pyramid[0], once, templates[:, 0, 0])
    steps = refined.before_lock[:-1] - refined.locked[:-2]
    late = np.arange(params["iters"]) > 3 * params["iters"] // 4
    halved = torch.from_numpy(np.where(late & params.get("beautify", False), 2.0, 1.0).astype(np.float32))
    found = {
        "preds1": refined.before_lock.transpose(1, 2),
        "preds2": refined.locked.transpose(1, 2),
        "feats1_t0": refined.templates[:, 0, 0],
        "feats2_last": refined.templates[:, :, 1].transpose(0, 1),
        "feats4_last": refined.templates[:, :, 2].transpose(0, 1),
        "delta_fcorr_iter0": correlate(pyramid, cells, templates),
        "delta_flow_iter0": motion_encoding(cells, 128)[..., -2:],
        "delta_fcorr_iter1": correlate(pyramid, once, again),
        "delta_out": steps / STRIDE * halved[:, None, None, None],
        "dense_in_iter0_pt0": network.delta_block.features(told)[0],
        "fnet_first": pyramid[0][0].permute(2, 0, 1),
    }
    return {name: _cut(value.numpy(), arrays[name].shape) for name, value in found.items() if name in arrays}


def _cut(value: Any, shape: tuple[int, ...]) -> Any:
    """Goldens keep only the first points of large arrays."""
    return value[: shape[0], : shape[1]]
