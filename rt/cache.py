"""What was found out about this machine once and holds until something changes: a folder of small JSON files.

The folder is $SPECKTRACK_CACHE, else $XDG_CACHE_HOME/specktrack, else ~/.cache/specktrack. Deleting it is always safe.
"""

import hashlib
import json
import logging
import os
import platform
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where this machine's findings and plans lie; it need not exist yet."""
    if found := os.environ.get("SPECKTRACK_CACHE"):
        return Path(found)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "specktrack"


def recall(topic: str, key: dict[str, str]) -> dict[str, Any] | None:
    """What was remembered for exactly this key, or None."""
    try:
        stored = json.loads(_file(topic, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored["value"] if isinstance(stored, dict) and stored.get("key") == key else None


def remember(topic: str, key: dict[str, str], value: dict[str, Any]) -> None:
    """Keep a finding; where nothing can be written it is found out again at the next start, and the log says so."""
    path = _file(topic, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"key": key, "value": value}, indent=1), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        log.info("%s cannot be written (%s): what was found out is not remembered", path.parent, error.strerror)


def key_hash(key: dict[str, str]) -> str:
    """A short name for a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def processor() -> str:
    """The name of the CPU, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "Features"))]
    return f"{named[0] if named else platform.machine()} {key_hash({'flags': ' '.join(named)})}"


def _file(topic: str, key: dict[str, str]) -> Path:
    return cache_folder() / topic / f"{key_hash(key)}.json"
