"""TensorRT plans built on this machine: one folder each, named by all that a plan depends on."""

from pathlib import Path

from specktrack.rt.cache import cache_folder, key_hash
from specktrack.rt.errors import EngineError
from specktrack.rt.manifest import Manifest, Plan, load_manifest


def plans_folder() -> Path:
    """Where they lie; it need not exist yet."""
    return cache_folder() / "plans"


def plan_folder(plan: Plan) -> Path:
    """The folder of one plan; another ONNX file, TensorRT, GPU, driver, profile or flag gives another one."""
    return plans_folder() / key_hash({name: str(value) for name, value in plan.model_dump().items()})


def plan_name(model: str, precision: str) -> str:
    """The file name of a model's plan."""
    return f"{model}.{precision}.trt.plan"


def known_plans() -> list[tuple[Path, Manifest]]:
    """Every whole plan in the cache with its card, newest first; what is damaged is left out."""
    found = []
    for path in sorted(plans_folder().glob("*/*.trt.plan"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            found.append((path, load_manifest(path)))
        except EngineError:
            continue
    return found


def find_plan(card: Manifest, model: Path, tensorrt: str, gpu: str) -> Path:
    """The newest plan built here from an ONNX model (or its half-precision twin); raises EngineError."""
    sources = {card.sha256} | ({card.half.sha256} if card.half else set())
    for path, found in known_plans():
        plan = found.plan
        if plan is not None and plan.onnx_sha256 in sources and (plan.tensorrt, plan.gpu) == (tensorrt, gpu):
            return path
    raise EngineError(
        f"engine tensorrt: no plan of {card.model} for TensorRT {tensorrt} on {gpu} yet; "
        f"build it on this machine: export-trt {model} --out plans"
    )


def has_plan(card: Manifest) -> bool:
    """Whether any plan of this model was built here, whatever it fits: cheap, asks no GPU."""
    sources = {card.sha256} | ({card.half.sha256} if card.half else set())
    return any(found.plan is not None and found.plan.onnx_sha256 in sources for _, found in known_plans())
