"""A checkpoint becomes a folder of files that `rt` opens: two ONNX encoders, matching graphs, fusion weights, cards.

NAME.onnx          the encoder, FP32
NAME.fp16.onnx     the same, strongly typed FP16 (half.py)
NAME.sample.onnx   matching on a device, FP32 (match_graph.py)
NAME.match.onnx
NAME.fusion.npz    what weighs flow and evidence
NAME.json, NAME.fp16.json   the cards
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import typer

from specktrack.export.audit import audit
from specktrack.export.graph import OPSET, export_onnx
from specktrack.export.half import PrecisionPlan, to_half
from specktrack.export.match_graph import SIDE, write_matching
from specktrack.export.versions import versions
from specktrack.rt.errors import InputError
from specktrack.rt.fusion import save_fusion, steady_weights
from specktrack.rt.manifest import (
    FileRef,
    Manifest,
    Parity,
    Training,
    file_sha256,
    manifest_path,
    open_fusion,
    reference_to,
    save_manifest,
)
from specktrack.rt.self_check import self_check_of
from specktrack.training.checkpoint import Checkpoint
from specktrack.training.encoder import TorchEncoder
from specktrack.training.fusion import FusionModel
from specktrack.training.head import GAMMA
from specktrack.training.specknet import SpeckNet, build

PLAN = PrecisionPlan()  # SpeckNet needs no named island: its statistics are sums and powers, FP32 by rule


@dataclass(frozen=True)
class ModelFiles:
    """What was written, and the network it was written from."""

    network: SpeckNet
    fp32: Path
    fp16: Path
    card: Manifest  # of fp32, without parity; the FP16 one's says the same of itself
    parities: dict[str, Parity] = field(default_factory=dict)  # by precision

    def save(self, parities: dict[str, Parity] | None = None, **update: Any) -> "ModelFiles":
        """Write both cards, with what was found out since; each file has its own parity, by precision."""
        made = replace(self, card=self.card.model_copy(update=update), parities=parities or self.parities)
        save_manifest(made.card.model_copy(update={"parity": made.parities.get("fp32")}), self.fp32)
        half = {"file": self.fp16.name, "sha256": file_sha256(self.fp16), "precision": "fp16", "half": None}
        save_manifest(made.card.model_copy(update={**half, "parity": made.parities.get("fp16")}), self.fp16)
        return made

    def discard(self) -> None:
        """Take both cards away."""
        for path in (self.fp32, self.fp16):
            manifest_path(path).unlink(missing_ok=True)

    def reference(self) -> TorchEncoder:
        """The network itself as an engine: what all others are measured against."""
        fusion = open_fusion(self.fp32, self.card)
        return TorchEncoder(self.network, self.card.model, fusion, self.card.input_size)


def write_model(loaded: Checkpoint, out: Path, size: tuple[int, int]) -> ModelFiles:
    """Write all files for images of size (height, width); raises InputError where one fails its audit."""
    network = build(loaded.model)
    network.load_state_dict(loaded.state["network"])
    network.eval()
    fusion = write_fusion(loaded, out / f"{loaded.model}.fusion.npz")
    fp32, fp16 = out / f"{loaded.model}.onnx", out / f"{loaded.model}.fp16.onnx"
    export_onnx(network, fp32, size)
    model = onnx.load(str(fp32))
    audit(model)
    typed = to_half(model, PLAN)
    audit(typed)
    onnx.save(typed, str(fp16))
    sample, match = write_matching(fp32, network.config.features, size, GAMMA)
    card = Manifest(
        model=loaded.model,
        file=fp32.name,
        sha256=file_sha256(fp32),
        opset=OPSET,
        precision="fp32",
        input_size=size,
        channels=network.config.features,
        gamma=GAMMA,
        fusion=fusion,
        half=reference_to(fp16),
        sample=reference_to(sample),
        match=reference_to(match),
        match_side=SIDE,
        versions=versions(),
        training=_training(loaded),
    )
    files = ModelFiles(network, fp32, fp16, card)
    return files.save(self_check=self_check_of(files.reference()))


def _training(loaded: Checkpoint) -> Training:
    settings: dict[str, Any] = loaded.settings
    data = str(settings.get("data_note") or ", ".join(map(str, settings["data"])))
    return Training(data=data, seed=int(settings["seed"]), steps=loaded.step)


def write_fusion(loaded: Checkpoint, path: Path) -> FileRef:
    """The weights of the fusion; fixed gains where none were trained; InputError for those of another version."""
    arrays = steady_weights()
    if "fusion" in loaded.state:
        fusion = FusionModel()
        try:
            fusion.load_state_dict(loaded.state["fusion"])
        except RuntimeError as error:
            raise InputError(
                "the fusion in the checkpoint is of another version; train it again with train-fusion"
            ) from error
        arrays = fusion.arrays()
    else:
        typer.echo("The checkpoint has no trained fusion: fixed gains are used; train it with train-fusion.")
    save_fusion(path, arrays)
    return reference_to(path)
