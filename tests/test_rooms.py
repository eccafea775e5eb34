"""Who may import whom (docs/architecture.md), and that no file is forgotten by the package."""

import ast
import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE_RT = (
    "errors",
    "geometry",
    "settings",
    "preprocess",
    "correlation",
    "position",
    "fusion",
    "lucas_kanade",
    "motion",
    "dense_flow",
    "region",
    "cycle",
    "phase",
    "strain",
    "contour",
    "wall_shape",
    "anchor",
    "beat_measure",
    "segment_quality",
)
ALLOWED = {
    "rt": ("specktrack.rt",),
    "training": (
        "specktrack.training",
        *(f"specktrack.rt.{name}" for name in PURE_RT),
        "specktrack.rt.console",
        "specktrack.rt.config",
        "specktrack.rt.engine",
        "specktrack.rt.feature_matcher",
        "specktrack.rt.manifest",
        "specktrack.rt.measure",
        "specktrack.rt.tracker",
        "specktrack.rt.clip",
        "specktrack.rt.session",  # what is judged is what runs
        *(f"specktrack.rt.{name}" for name in ("drift", "known_beat", "retrack", "still_picture", "window")),
        "specktrack.rt.frame",
        "specktrack.rt.update",
    ),
    "export": ("specktrack.export", "specktrack.training", "specktrack.rt"),
    "tools": (
        "specktrack.tools",
        *(f"specktrack.rt.{name}" for name in ("wire", "headers", "clip", "points", "errors", "geometry", "console")),
        *(
            f"specktrack.rt.{name}"
            for name in ("overlay", "overlay_panel", "drawing", "frame", "frame_index", "update")
        ),
        "specktrack.rt.video_out",
        "specktrack.rt.config",  # limits of messages
        *(f"specktrack.rt.{name}" for name in ("recording", "preprocess")),  # what rt-feed plays again
        "specktrack.training.phantom",  # rt-feed phantom:..., imported only when asked for
    ),
    "configs": (),
}
PLUG_INS = {"bench_trackers.py": "specktrack.training.point_tracker."}  # imported when asked for, inside a function
HEAVY = ("torch", "onnx", "tensorrt", "cuda", "lightning_fabric", "openvino")
# Engines of the runtime that may name their library; they are imported only when asked for.
LIBRARY_ENGINES = (
    "engine_openvino",
    "engine_torch",
    "torch_graph",
    "torch_operators",
    "engine_trt",
    "trt_runner",
    "trt_device",
    "trt_log",
)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def trespasses(room: str, imported: set[str]) -> set[str]:
    allowed = ALLOWED[room]
    ours = {name for name in imported if name.startswith("specktrack.")}
    return {name for name in ours if not any(name == a or name.startswith(a + ".") for a in allowed)}


@pytest.mark.parametrize("room", ALLOWED)
def test_no_room_imports_what_it_must_not(room: str) -> None:
    wrong = {
        f"{path.name}: {name}"
        for path in (ROOT / room).glob("*.py")
        for name in trespasses(room, imports_of(path))
        if not name.startswith(PLUG_INS.get(path.name, "no plug-in"))
    }
    assert not wrong


def test_a_planted_violation_is_caught() -> None:
    assert trespasses("rt", {"specktrack.training.phantom.Phantom"})
    assert trespasses("tools", {"specktrack.rt.session.Session"})


@pytest.mark.parametrize("name", PLUG_INS)
def test_a_plug_in_is_imported_only_when_asked_for(name: str) -> None:
    body = ast.parse((ROOT / "rt" / name).read_text(encoding="utf-8")).body
    at_once = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    assert not [node.module for node in at_once if str(node.module).startswith("specktrack.training")]


def test_the_runtime_never_names_a_training_library() -> None:
    for path in (ROOT / "rt").glob("*.py"):
        if path.stem in LIBRARY_ENGINES:
            continue
        heavy = {name for name in imports_of(path) if name.split(".")[0] in HEAVY}
        assert not heavy, f"{path.name} imports {heavy}"


def test_engines_with_a_heavy_library_are_imported_only_when_asked_for() -> None:
    """At the top of a file only another of them may import one."""
    for path in (ROOT / "rt").glob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        modules = {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
        named = {name.rpartition(".")[2] for name in modules if name.startswith("specktrack.rt.")}
        assert path.stem in LIBRARY_ENGINES or not named.intersection(LIBRARY_ENGINES), path.name


def test_every_room_is_in_the_package_list() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {f"specktrack.{path.parent.name}" for path in ROOT.glob("*/__init__.py")}
    assert folders == set(settings["packages"])
    nested = [path for room in ALLOWED for path in (ROOT / room).glob("*/**/*.py")]
    assert not nested, "rooms stay flat: a sub-package would be missing from the wheel"


def test_no_room_shadows_a_top_level_module() -> None:
    assert importlib.util.find_spec("rt") is None
    assert importlib.util.find_spec("export") is None


def test_importing_a_room_does_nothing() -> None:
    for room in ALLOWED:
        body = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in body), room
