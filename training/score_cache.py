"""Scores kept on disk, so that a stopped evaluation goes on where it was.

A score is found again by everything it depends on: the clip's files, the tracker and its model file and card, the
settings that matter, and the code that tracks and judges. Change any of these and it is measured anew.
"""

import ast
import hashlib
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from specktrack.rt.errors import InputError
from specktrack.rt.manifest import file_sha256, find_model, load_manifest, manifest_path
from specktrack.rt.settings import Section
from specktrack.training.cases import ClipSource, EvalConfig
from specktrack.training.classical import CLASSICAL
from specktrack.training.peak_memory import PeakMemory
from specktrack.training.point_tracker import split_name
from specktrack.training.score import ClipScore

MEASURING_CODE = "specktrack.training.jobs"

Kept = TypeVar("Kept", bound=Section)


class ScoreCache:
    """Scores of the trackers of one evaluation, under `folder`."""

    def __init__(self, folder: Path, settings: EvalConfig) -> None:
        """Raises EngineError for a model that is not there."""
        self._folder = folder
        shared = [settings.query, settings.phase.model_dump(), settings.match.model_dump(), code_fingerprint()]
        self._trackers = {name: _digest([name, model_fingerprint(name), *shared]) for name in settings.models}

    def load(self, tracker: str, source: ClipSource) -> ClipScore | None:
        """The score kept, or None."""
        return self._load(ClipScore, self._path(tracker, source))

    def save(self, tracker: str, source: ClipSource, score: ClipScore) -> None:
        """Keep a score; written whole or not at all."""
        self._save(score, self._path(tracker, source))

    def load_memory(self, tracker: str, source: ClipSource) -> PeakMemory | None:
        """The memory measured on this clip, or None."""
        return self._load(PeakMemory, self._path(tracker, source).with_suffix(".memory.json"))

    def save_memory(self, tracker: str, source: ClipSource, memory: PeakMemory) -> None:
        """Keep what was measured on this clip."""
        self._save(memory, self._path(tracker, source).with_suffix(".memory.json"))

    def _load(self, kind: type[Kept], path: Path) -> Kept | None:
        try:
            return kind.model_validate_json(path.read_bytes(), strict=False)
        except (OSError, ValidationError):
            return None

    def _save(self, kept: Section, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(kept.model_dump_json(), encoding="utf-8")
        partial.replace(path)

    def _path(self, tracker: str, source: ClipSource) -> Path:
        reference = source.reference.model_dump() if source.reference else None
        key = _digest([self._trackers[tracker], [_file_fingerprint(path) for path in source.files], reference])
        return self._folder / _plain(tracker) / f"{_plain(source.name)}-{key}.json"


def model_fingerprint(name: str) -> str:
    """Changes with the model file and its card; nothing for trackers without a file. Raises EngineError."""
    if name in CLASSICAL or name == "block":
        return ""
    if (baseline := split_name(name)) is not None:
        return file_sha256(baseline[1]) if baseline[1].is_file() else ""  # opening it says what is wrong
    path = find_model(name)
    return load_manifest(path).sha256 + _digest(manifest_path(path).read_text(encoding="utf-8"))


@cache
def code_fingerprint(measuring_code: str = MEASURING_CODE) -> str:
    """Changes with any source of this package that the measuring code imports, directly or not."""
    todo, sources = [measuring_code], dict[str, str]()
    while todo:
        module = todo.pop()
        spec = None if module in sources else find_spec(module)
        if spec is None or spec.origin is None:
            continue
        sources[module] = Path(spec.origin).read_text(encoding="utf-8")
        todo += _own_imports(sources[module])
    return _digest(sorted(sources.items()))


def _own_imports(source: str) -> list[str]:
    """Modules of this package that a source imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("specktrack."):
            package = str(node.module)
            is_room = package.count(".") == 1  # from specktrack.rt import cycle
            found += [f"{package}.{alias.name}" for alias in node.names] if is_room else [package]
    return found


def _file_fingerprint(path: Path) -> list[str | int]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an existing file") from error
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _plain(name: str) -> str:
    """A name or path as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")
