"""Our sources use only names that TensorRT 10.12 and 11 both have: NVIDIA's own bindings say so, without a GPU."""

import json
from pathlib import Path

import pytest
from tensorrt_names import ROOT, Use, all_uses, asked, bindings, missing_from, printed, sources, stub_libraries, uses

from specktrack.rt.engine_choice import has_gpu

VERSIONS = {
    "10, oldest supported": ("tensorrt-cu12-bindings==10.12.*", 10),
    "10, newest": ("tensorrt-cu13-bindings<11", 10),
    "11, CUDA 12": ("tensorrt-cu12-bindings>=11", 11),
    "11, CUDA 13": ("tensorrt-cu13-bindings>=11", 11),
}
PLANTED = "config.set_flag(trt.BuilderFlag.FP16)\n"

Installed = tuple[Path, Path, int]  # unpacked bindings, stub libraries, major version


@pytest.fixture(scope="module")
def wheels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept from run to run where pytest keeps anything."""
    cache = request.config.cache
    return Path(str(cache.mkdir("wheels"))) if cache else tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request: pytest.FixtureRequest, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    requirement, major = VERSIONS[request.param]
    return bindings(requirement, wheels), stub_libraries(major, tmp_path_factory.mktemp("stubs")), major


def test_every_name_and_keyword_exists(installed: Installed) -> None:
    unpacked, stubs, _ = installed
    assert not missing_from(unpacked, stubs, all_uses())


def test_a_planted_name_that_11_removed_is_found(installed: Installed) -> None:
    unpacked, stubs, major = installed
    found = missing_from(unpacked, stubs, list(uses(PLANTED, "planted.py")))
    wanted = ["planted.py:1: trt.BuilderFlag.FP16 does not exist"] if major >= 11 else []
    assert [line[: len(w)] for line, w in zip(found, wanted, strict=True)] == wanted


def test_a_planted_keyword_is_found(installed: Installed) -> None:
    unpacked, stubs, _ = installed
    wrong = list(uses("profile.set_shape('points', least=1)\n", "planted.py"))
    assert len(missing_from(unpacked, stubs, wrong)) == 1


def test_our_modules_import_and_say_that_there_is_no_gpu(installed: Installed) -> None:
    """The real bindings refuse a builder without a device; that becomes one sentence."""
    unpacked, stubs, _ = installed
    program = """
from pathlib import Path
from rich.progress import Progress
from specktrack.export import trt_build
from specktrack.export.build_config import BuildConfig
from specktrack.rt.errors import EngineError
from specktrack.rt.trt_log import TrtLog
log = TrtLog()
log.log(trt.ILogger.Severity.ERROR, 'out of\\n luck')
trt_build.check_version()
bar = trt_build.BuildBar(Progress())
bar.phase_start('tactics', None, 3)
assert bar.step_complete('tactics', 0)
bar.phase_finish('tactics')
try:
    trt_build.build_plan(Path('x.onnx'), {}, BuildConfig(), Path('t'), Progress())
except EngineError as error:
    print(json.dumps([log.reason(), str(error)]))
"""
    reason, sentence = json.loads(asked(unpacked, stubs, program))
    assert reason == "out of luck"
    assert sentence.endswith("finds no NVIDIA GPU it can use")


def test_every_name_is_in_the_reference_of_both_majors(shared_folder: Path) -> None:
    """trt_api.json: since when, and removed when."""
    names = json.loads((shared_folder / "reference" / "trt_api.json").read_text(encoding="utf-8"))["names"]
    assert not unlisted(all_uses(), names)
    assert unlisted(list(uses(PLANTED, "planted.py")), names) == ["planted.py:1: BuilderFlag.FP16, removed in 11.0"]


def unlisted(wanted: list[Use], names: dict[str, tuple[str, str | None]]) -> list[str]:
    found = []
    for use in wanted:
        since, removed = names.get(use.name, ("never", None))
        if use.name.startswith("__version__"):
            continue
        if removed is not None or since == "never" or tuple(map(int, since.split("."))) > (10, 12):
            found.append(f"{use.where}: {use.name}, {f'removed in {removed}' if removed else f'since {since}'}")
    return found


def test_the_check_sees_what_the_sources_use() -> None:
    """Or it would pass because it looks nowhere."""
    assert {path.name for path in sources()} >= {"trt_build.py", "trt_runner.py", "trt_log.py", "engine_trt.py"}
    found = {use.name for use in all_uses()}
    assert found >= {
        "Builder",
        "Builder.build_serialized_network",
        "IBuilderConfig.set_memory_pool_limit",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "IExecutionContext.execute_async_v3",
        "ICudaEngine.get_tensor_profile_shape",
        "IOptimizationProfile.set_shape",
    }


def test_every_cuda_call_exists_and_a_machine_without_a_gpu_says_so(tmp_path: Path, wheels: Path) -> None:
    """NVIDIA's bindings of CUDA's runtime import without a driver."""
    parts = [bindings(name, wheels) for name in ("cuda-bindings>=12.6", "cuda-pathfinder")]
    calls = sorted({use.name for use in uses((ROOT / "rt/trt_device.py").read_text(encoding="utf-8"), "", "cudart")})
    program = """
import json, sys
from cuda.bindings import runtime
from specktrack.rt.errors import EngineError
from specktrack.rt.trt_device import Gpu
missing = []
for name in json.load(sys.stdin):
    found = runtime
    for part in name.split('.'):
        found = getattr(found, part, None)
    missing += [] if found is not None else [name]
try:
    Gpu.here()
except EngineError as error:
    missing.append(str(error))
print(json.dumps(missing))
"""
    said = json.loads(printed(program, parts, Path(), calls))
    assert "cudaStreamBeginCapture" in calls
    assert len(said) == (0 if has_gpu() else 1), said
    assert has_gpu() or said[0].startswith("CUDA: ")


def test_no_enum_value_is_written_as_a_number() -> None:
    """19 of them changed in 11: a flag is shifted by its own value only."""
    for path in sources():
        for line in path.read_text(encoding="utf-8").splitlines():
            if "<<" in line and "trt" in line:
                assert "int(trt." in line, f"{path.name}: {line.strip()}"
