"""Names of segments by view, and the 18-, 17- and 16-segment models."""

import pytest

from specktrack.rt.errors import InputError
from specktrack.rt.walls import AROUND, eighteen, segment_names, seventeen, sixteen

A4C = (-15.0, -16.0, -17.0, -18.0, -19.0, -20.0)
A2C = (-14.0, -14.0, -14.0, -22.0, -22.0, -22.0)
A3C = (-10.0, -11.0, -12.0, -13.0, None, -15.0)
VIEWS = {"a4c": A4C, "a2c": A2C, "a3c": A3C}


def test_a_four_chamber_contour_runs_up_the_septum_and_down_the_lateral_wall() -> None:
    assert segment_names("a4c") == (
        "basal inferoseptal",
        "mid inferoseptal",
        "apical inferoseptal",
        "apical anterolateral",
        "mid anterolateral",
        "basal anterolateral",
    )
    assert segment_names("a2c")[0] == "basal inferior"
    assert segment_names("a3c")[-1] == "basal anteroseptal"
    assert segment_names("rv")[:3] == ("basal free wall", "mid free wall", "apical free wall")


def test_three_views_make_eighteen_segments_and_each_view_its_own() -> None:
    values = eighteen(VIEWS)
    assert len(values) == 18
    assert values["mid anterolateral"] == -19.0
    assert values["mid anteroseptal"] is None, "rejected stays unknown"
    assert {name.split()[1] for name in values} == set(AROUND)


def test_sixteen_segments_join_the_apical_ones_in_pairs() -> None:
    values = sixteen(eighteen(VIEWS))
    assert len(values) == 16
    assert values["apical septal"] == pytest.approx((-17.0 - 13.0) / 2)
    assert values["apical lateral"] == pytest.approx((-18.0 - 12.0) / 2)
    assert values["apical anterior"] == -22.0


def test_the_seventeenth_segment_is_the_apex() -> None:
    values = seventeen(eighteen(VIEWS))
    assert len(values) == 17
    assert values["apex"] == pytest.approx((-22.0 - 15.0 - 14.0 - 15.0) / 4)


def test_a_view_that_was_not_seen_leaves_its_walls_unknown() -> None:
    values = sixteen(eighteen({"a4c": A4C}))
    assert values["basal anterior"] is None
    assert values["apical septal"] == -17.0, "of the pair, the one that is known"


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="view plax: unknown; choose one of a4c, a2c, a3c, rv"):
        segment_names("plax")
    with pytest.raises(InputError, match="view rv: not one of the left ventricle's"):
        eighteen({"rv": A4C})


def test_a_contour_of_another_number_of_segments_has_numbers_for_names() -> None:
    assert segment_names("a4c", 3) == ("segment 1", "segment 2", "segment 3")
