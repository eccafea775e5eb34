"""Settings files: YAML read into pydantic models, with one clear line for each wrong key or value."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from specktrack.rt.errors import ConfigError


class Section(BaseModel):
    """A group of settings: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


SettingsModel = TypeVar("SettingsModel", bound=Section)


def load_settings(model: type[SettingsModel], path: Path | None, overrides: Sequence[str] = ()) -> SettingsModel:
    """Read YAML overrides and `section.key=value` strings; raises ConfigError with one line for each wrong setting.

    A section named in part keeps the rest as the settings above it have it by default.
    """
    source = path.name if path else "--set"
    raw = _read_yaml(path) if path else {}
    for item in overrides:
        _apply_override(raw, item)
    try:
        return model.model_validate(_filled(model, raw), strict=False)
    except ValidationError as error:
        lines = [f"{source}: {_dotted(e['loc'])}: {e['msg']}{_hint(model, e)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _filled(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """The given settings; sections among them with what their place, not their class, has for the keys not given."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    return {name: _over(defaults.get(name), value) for name, value in given.items()}


def _over(own: Any, given: Any) -> Any:
    if not (isinstance(own, Section) and isinstance(given, dict)):
        return given
    return own.model_dump() | {name: _over(getattr(own, name, None), value) for name, value in given.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give an existing YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not valid YAML: {' '.join(str(error).split())}") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected 'section: {{key: value}}' at the top, found {type(raw).__name__}")
    return raw


def _apply_override(raw: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {item}: expected section.key=value, for example --set session.strain.segments=6")
    *parents, leaf = key.split(".")
    node = raw
    for name in parents:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {item}: {name} is a value, not a section")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {item}: the value is not valid YAML; put text in quotes") from error


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _hint(model: type[BaseModel], error: ErrorDetails) -> str:
    """A near name for an unknown key, looked up among the keys of the section it stands in."""
    if error["type"] != "extra_forbidden":
        return ""
    *parents, wrong = (str(part) for part in error["loc"])
    near = difflib.get_close_matches(wrong, _keys_of(model, parents), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _keys_of(model: type[BaseModel], parents: Sequence[str]) -> list[str]:
    for name in parents:
        child = model.model_fields[name].annotation
        if not (isinstance(child, type) and issubclass(child, BaseModel)):
            return []
        model = child
    return list(model.model_fields)
