"""Settings: what is not said stays as the place has it by default, and what is wrong is named."""

from pathlib import Path

import pytest

from specktrack.rt.errors import ConfigError
from specktrack.rt.settings import Section, load_settings


class Inner(Section):
    size: int = 1
    colour: str = "grey"


class Middle(Section):
    inner: Inner = Inner()
    depth: int = 5


class Outer(Section):
    here: Middle = Middle(inner=Inner(size=7), depth=9)
    there: Middle = Middle()
    names: tuple[str, ...] = ("a", "b")


def test_a_section_named_in_part_keeps_the_defaults_of_its_place() -> None:
    found = load_settings(Outer, None, ["here.inner.colour=red", "there.depth=2"])
    assert found.here == Middle(inner=Inner(size=7, colour="red"), depth=9)
    assert found.there == Middle(depth=2)


def test_a_file_does_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("here: {depth: 3}\nnames: [c]\n")
    found = load_settings(Outer, tmp_path / "a.yaml")
    assert found.here == Middle(inner=Inner(size=7), depth=3)
    assert found.names == ("c",)


def test_an_unknown_key_in_a_section_named_in_part_is_still_an_error() -> None:
    with pytest.raises(ConfigError, match=r"here\.inner\.color: .*did you mean 'colour'"):
        load_settings(Outer, None, ["here.inner.color=red"])


def test_a_value_in_place_of_a_section_is_an_error() -> None:
    with pytest.raises(ConfigError, match="here: "):
        load_settings(Outer, None, ["here=5"])
