from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from specktrack.rt.config import DaemonConfig, load_config
from specktrack.rt.errors import ConfigError


def test_no_file_means_the_defaults() -> None:
    assert load_config(None) == DaemonConfig()


def test_the_shipped_settings_file_states_the_defaults() -> None:
    assert load_config(Path(str(files("specktrack.configs").joinpath("daemon.yaml")))) == DaemonConfig()


def test_a_file_and_the_command_line_override_in_this_order(tmp_path: Path) -> None:
    path = written(tmp_path, "frames: {queue: 9, mode: sub}\n")

    config = load_config(path, ["frames.queue=2", "session.strain.segments=18", "session.anchor.enabled=false"])

    assert (config.frames.queue, config.frames.mode) == (2, "sub")
    assert config.session.strain.segments == 18
    assert not config.session.anchor.enabled


def test_what_check_config_prints_can_be_read_back(tmp_path: Path) -> None:
    config = load_config(None, ["model.name=block", "limits.max_streams=2"])
    path = written(tmp_path, yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("window: {}", "window"),
        ("session: {window: {frame: 3}}", r"session.window.frame: .* \(did you mean 'frames'\?\)"),
        ("frame: {queue: 3}", "did you mean 'frames'"),
        ("frames: {queue: many}", "frames.queue"),
        ("frames: {queue: 0}", "frames.queue: .* greater than or equal to 1"),
        ("frames: [1", "not valid YAML"),
        ("- frames", "expected 'section: {key: value}'"),
        ("health: {stalled_after_ms: .nan}", "health.stalled_after_ms"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(written(tmp_path, text))


def test_each_wrong_setting_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(written(tmp_path, "frames: {queue: 0, mod: sub}\nlimits: {max_points: x}\n"))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("item", ["frames", "=3", "frames.queue.more=3", "frames.queue=[", "frames=3", "a.b=c"])
def test_a_wrong_override_is_named(item: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(None, ["frames.queue=3", item])


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as error:
        load_config(tmp_path / "none.yaml")
    assert len(str(error.value).splitlines()) == 1


def written(folder: Path, text: str) -> Path:
    path = folder / "daemon.yaml"
    path.write_text(text, encoding="utf-8")
    return path
