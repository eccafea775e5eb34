"""From a model's ONNX files to its three TensorRT plans on this machine: cache, build, checks, card.

A plan that was built before from the same file, for the same GPU, TensorRT, profile and flags is taken from the cache.
A new one is read back: its inputs and outputs must be those asked for, and on the device it must follow points to where
its FP32 file in ONNX Runtime follows them, or it is not kept.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnx
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from specktrack.export.audit import audit
from specktrack.export.build_config import MOST_TEMPLATES, BuildConfig
from specktrack.export.comparison import parity_of, print_table
from specktrack.rt.cache import key_hash
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import open_checked
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import EngineError, InputError
from specktrack.rt.manifest import (
    Manifest,
    Plan,
    companion,
    file_sha256,
    load_manifest,
    reference_to,
    save_manifest,
)
from specktrack.rt.parity import Deviation, VerifyClip, compare, follow, refuse_far
from specktrack.rt.plan_cache import plan_folder, plan_name, plans_folder
from specktrack.rt.precision_gate import N_FRAMES, swaying_clip

Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]  # least, best and most shape of every input


@dataclass(frozen=True)
class Source:
    """The ONNX files that plans are built from."""

    encoder: Path
    sample: Path
    match: Path
    card: Manifest  # of the encoder
    reference: Path  # what its plan is compared with: the FP32 file, where it was given


def source_of(model: Path, precision: str) -> Source:
    """The files of an exported model in the wanted precision, audited; raises InputError or EngineError."""
    card, reference = load_manifest(model), model
    if precision == "fp16" and card.precision == "fp32":
        model = companion(model, card.half, "FP16 network")
        card = load_manifest(model)
    elif precision != card.precision:
        raise InputError(f"{model}: is {card.precision}; give the FP32 file for --precision fp32")
    sample, match = (companion(model, f, "matching graph") for f in (card.sample, card.match))
    audit(onnx.load(str(model)))
    audit(onnx.load(str(sample)), coordinates=("points",), is_half_allowed=False)
    audit(onnx.load(str(match)), coordinates=("centre",), is_half_allowed=False)
    return Source(model, sample, match, card, reference)


def refuse_without_tensorrt(model: Path) -> None:
    """Raise InputError that says what is missing for a plan here, and how to build it on the machine it is for."""
    missing = [name for name in ("tensorrt", "cuda.bindings.runtime") if not _is_installed(name)]
    lack = f"{' and '.join(missing)} not installed" if missing else _gpu_lack()
    if lack:
        raise InputError(
            f"no TensorRT plan was built: {lack}. The ONNX files are complete; on the machine with the GPU: "
            f"pip install 'specktrack[trt]', copy {model.parent} there, and run "
            f"export-trt {model.name} --out plans (docs/engines.md)"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that should hold it
        return False


def _gpu_lack() -> str:
    from specktrack.rt.trt_device import Gpu

    try:
        Gpu.here()
    except EngineError as error:
        return str(error)
    return ""


def build_plans(
    source: Source,
    out: Path,
    points: tuple[int, int, int],
    options: BuildConfig,
    clips: Sequence[VerifyClip] = (),
    is_forced: bool = False,
) -> tuple[Path, bool]:
    """The encoder's plan in `out`, its companions and card beside it, and whether it came from the cache.

    clips  what a new plan is compared on, beside swaying speckle
    Raises EngineError or InputError, and keeps nothing, when a plan cannot be built or finds points elsewhere.
    """
    from specktrack.export.trt_build import check_version

    check_version()
    wanted = _wanted(source, points, options)
    folder = plan_folder(wanted)
    plan = folder / plan_name(source.card.model, source.card.precision)
    is_known = plan.is_file() and not is_forced and load_manifest(plan).plan == wanted
    if not is_known:
        folder.mkdir(parents=True, exist_ok=True)
        _build_all(source, plan, points, options, wanted)
    if not is_known or clips:
        _accept(plan, source, clips)
    out.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.copy2(path, out / path.name)
    return out / plan.name, is_known


def _wanted(source: Source, points: tuple[int, int, int], options: BuildConfig) -> Plan:
    import tensorrt as trt

    from specktrack.rt.trt_device import Gpu

    gpu = Gpu.here()
    return Plan(
        onnx_sha256=source.card.sha256,
        card=key_hash({"card": source.card.model_dump_json(exclude={"parity", "versions"})}),
        tensorrt=trt.__version__,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        points=points,
        flags=options.flags(),
    )


def _build_all(source: Source, plan: Path, points: tuple[int, int, int], options: BuildConfig, wanted: Plan) -> None:
    from specktrack.export.trt_build import build_plan

    targets = (plan, plan.with_suffix(".sample.plan"), plan.with_suffix(".match.plan"))
    graphs = (source.encoder, source.sample, source.match)
    timings = plans_folder() / "timings.cache"
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        for graph, target in zip(graphs, targets, strict=True):
            profile = profile_of(graph, source.card, points)
            target.write_bytes(build_plan(graph, profile, options, timings, progress))
            _check_table(target, graph, profile)
    fusion = companion(source.encoder, source.card.fusion, "fusion weights")
    shutil.copy2(fusion, plan.parent / fusion.name)
    card = source.card.model_copy(
        update={
            "file": plan.name,
            "sha256": file_sha256(plan),
            "half": None,
            "sample": reference_to(targets[1]),
            "match": reference_to(targets[2]),
            "plan": wanted,
        }
    )
    save_manifest(card, plan)


def _accept(plan: Path, source: Source, clips: Sequence[VerifyClip]) -> None:
    """Compare the plan on the device with its FP32 file on the CPU: noted on the card, or the plan is taken away."""
    against = f"{source.reference.name} in ONNX Runtime"
    try:
        rows = _rows(plan, source, clips)
        print_table(rows, against)
        refuse_far(rows)
    except BaseException:
        plan.unlink()  # what was not found right is not left in the cache
        raise
    card = load_manifest(plan)
    save_manifest(card.model_copy(update={"parity": parity_of(rows, against)}), plan)


def _rows(plan: Path, source: Source, clips: Sequence[VerifyClip]) -> list[Deviation]:
    exact = OrtEngine(source.reference)
    on_device = open_checked("tensorrt", ModelConfig(name=str(plan), engine="tensorrt"))
    every = [swaying_clip(on_device.input_size, N_FRAMES), *clips]
    rows = [compare(clip, follow(exact, clip), on_device, "tensorrt") for clip in every]
    on_device.close()
    return rows


def profile_of(graph: Path, card: Manifest, points: tuple[int, int, int]) -> Profile:
    """Least, best and most shape of every input of a graph: points and templates vary, images do not."""
    sizes = {"N": points, "K": (1, MOST_TEMPLATES - 1, MOST_TEMPLATES)}
    height, width = card.input_size
    profile: Profile = {}
    for value in onnx.load(str(graph)).graph.input:
        if value.name == card.input_name:
            profile[value.name] = ((1, 1, height, width),) * 3
            continue
        axes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        least, best, most = (tuple(sizes[a][k] if isinstance(a, str) else a for a in axes) for k in range(3))
        profile[value.name] = (least, best, most)
    return profile


def _check_table(plan: Path, graph: Path, profile: Profile) -> None:
    """Reload a plan; raises EngineError where its inputs and outputs are not those of the graph and its profile."""
    from specktrack.rt.trt_device import CudaStream
    from specktrack.rt.trt_log import TrtLog
    from specktrack.rt.trt_runner import PlanRunner

    stream = CudaStream()
    runner = PlanRunner(plan.read_bytes(), plan.name, stream, TrtLog())
    found = {name: runner.limits(name) for name in runner.inputs}
    made, asked = set(runner.outputs), {value.name for value in onnx.load(str(graph)).graph.output}
    runner.close()
    stream.close()
    if found != dict(profile) or made != asked:
        raise EngineError(f"{plan.name}: was built with {found} to {made}, asked for {dict(profile)} to {asked}")
