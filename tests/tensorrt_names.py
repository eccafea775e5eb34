"""The real TensorRT bindings over empty stub libraries, and which of their names our sources use.

The bindings are small wheels that need nine C functions of NVIDIA's libraries. Three libraries that define these and
nothing else let them be imported anywhere, and a name or keyword that TensorRT does not have is found without a GPU.
"""

import ast
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
# What the variables of our sources hold; `self._engine` counts as `engine`.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}


@dataclass(frozen=True)
class Use:
    """A name of TensorRT where it is used."""

    name: str  # dotted, without `trt.`
    keywords: tuple[str, ...]  # of the call, if it is one
    where: str


def sources() -> list[Path]:
    """Every file of export and rt that imports tensorrt."""
    files = (path for room in ("export", "rt") for path in sorted((ROOT / room).glob("*.py")))
    return [path for path in files if "import tensorrt as trt" in path.read_text(encoding="utf-8")]


def uses(text: str, where: str, module: str = "trt") -> Iterator[Use]:
    """Every name of TensorRT in a source: `trt.X.Y`, and attributes of variables that hold its objects."""
    tree = ast.parse(text)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        name = _name(node, module)
        if name:
            call = called.get(id(node))
            keywords = tuple(k.arg for k in call.keywords if k.arg) if call else ()
            yield Use(name, keywords, f"{where}:{node.lineno}")


def _name(node: ast.Attribute, module: str) -> str:
    parts: list[str] = []
    at: ast.expr = node
    while isinstance(at, ast.Attribute):
        parts.insert(0, at.attr)
        at = at.value
    root = at.id if isinstance(at, ast.Name) else ""
    if root == module:
        return ".".join(parts)
    if module != "trt":
        return ""
    if root == "self" and len(parts) > 1:
        root, parts = parts[0].lstrip("_"), parts[1:]
    return f"{CLASSES[root]}.{parts[0]}" if root in CLASSES and parts else ""


def all_uses() -> list[Use]:
    """Of all our sources."""
    return [use for path in sources() for use in uses(path.read_text(encoding="utf-8"), path.name)]


def bindings(requirement: str, folder: Path) -> Path:
    """The unpacked bindings wheel; skips where the network is absent."""
    cached = Path(os.environ.get("SPECKTRACK_WHEELS", folder))
    wheels = cached / requirement.translate(str.maketrans("<>=,*", "_____"))
    if not list(wheels.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        got = subprocess.run([*command, "-d", str(wheels), requirement], capture_output=True, text=True, timeout=120)
        if got.returncode:
            pytest.skip(f"{requirement} cannot be downloaded: {got.stderr.strip().splitlines()[-1:]}")
    unpacked = folder / f"{wheels.name}-unpacked"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked)
    return unpacked


def stub_libraries(major: int, folder: Path) -> Path:
    """The three libraries, defining the nine functions; skips where there is no C compiler."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in LIBRARIES:
        target = folder / f"lib{library}.so.{major}"
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(target), str(source)], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no C compiler here to make the stub libraries")
    return folder


def asked(unpacked: Path, stubs: Path, program: str, given: object = None) -> str:
    """What a program prints that imports these bindings as `tensorrt`."""
    start = "import sys, json, tensorrt_bindings as trt; sys.modules['tensorrt'] = trt; given = json.load(sys.stdin)\n"
    return printed(start + program, [unpacked], stubs, given)


def printed(program: str, paths: list[Path], libraries: Path, given: object) -> str:
    """What a program prints that gets `given` as JSON, in an interpreter of its own."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOOK_UP = """
missing = []
for name, keywords, where in given:
    found = trt
    try:
        for part in name.split('.'):
            found = getattr(found, part)
    except AttributeError:
        missing.append(f'{where}: trt.{name} does not exist in TensorRT {trt.__version__}')
        continue
    text = found.__doc__ or ''
    missing.extend(f'{where}: {name} has no keyword {k} in TensorRT {trt.__version__}'
                   for k in keywords if f'{k}:' not in text)
print(json.dumps(missing))
"""


def missing_from(unpacked: Path, stubs: Path, wanted: list[Use]) -> list[str]:
    """One line for each name or keyword that these bindings do not have."""
    given = [(use.name, use.keywords, use.where) for use in wanted]
    found: list[str] = json.loads(asked(unpacked, stubs, LOOK_UP, given))
    return found
