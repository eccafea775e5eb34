"""GLS of tracked contours against the truth: known ellipses, and figures of agreement worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.rt.geometry import Geometry
from specktrack.training.strain_agreement import StrainPair, agreement, gls_percent

MM_PER_PX = 0.5
GEOMETRY = Geometry(256, 256, (MM_PER_PX, MM_PER_PX))


def half_ellipse(short_mm: float, long_mm: float) -> np.ndarray:
    """Contour (61, 2) in pixels."""
    angle = np.linspace(0, np.pi, 61)
    line_mm = np.stack([short_mm * np.cos(angle), long_mm * np.sin(angle)], 1)
    return np.asarray(line_mm / MM_PER_PX + 20, np.float32)


ED, ES = half_ellipse(25, 90), half_ellipse(18, 76)  # GLS -17.045 %, vector V2 of the clinical reference


def test_a_half_ellipse_has_its_known_strain() -> None:
    contour = np.stack([ED, ES], 1)
    assert gls_percent(contour, None, GEOMETRY, (0,), (1,)) == pytest.approx(-17.045, abs=0.02)


def test_strain_needs_no_millimetres() -> None:
    contour = np.stack([ED, ES], 1)
    assert gls_percent(contour, None, Geometry(256, 256), (0,), (1,)) == pytest.approx(-17.045, abs=0.02)


def test_an_end_systole_before_the_first_end_diastole_is_measured_from_the_next() -> None:
    contour = np.stack([ES, ED], 1)
    assert gls_percent(contour, None, GEOMETRY, (1,), (0,)) == pytest.approx(-17.045, abs=0.02)


def test_two_beats_give_their_mean() -> None:
    contour = np.stack([ED, ES, ED, ED], 1)
    assert gls_percent(contour, None, GEOMETRY, (0, 2), (1, 3)) == pytest.approx(-17.045 / 2, abs=0.02)


@pytest.mark.parametrize(("eds", "ess"), [((), (1,)), ((0,), ()), ((1,), (1,))])
def test_without_both_events_there_is_no_strain(eds: tuple[int, ...], ess: tuple[int, ...]) -> None:
    assert gls_percent(np.stack([ED, ES], 1), None, GEOMETRY, eds, ess) is None


def test_a_wall_too_unsure_to_follow_has_no_strain() -> None:
    contour = np.stack([ED, ES], 1)
    sure = np.ones(contour.shape[:2], np.float32)
    assert gls_percent(contour, 0.1 * sure, GEOMETRY, (0,), (1,)) is None


def test_agreement_of_three_clips_by_hand() -> None:
    pairs = [StrainPair(-20, -19), StrainPair(-18, -18), StrainPair(-16, -17.5), StrainPair(-15, None)]
    found = agreement(pairs)
    differences = np.array([1.0, 0.0, -1.5])
    assert (found.n, found.n_rejected) == (3, 1)
    assert found.bias == pytest.approx(differences.mean())
    assert found.sd == pytest.approx(differences.std(ddof=1))
    assert found.mad == pytest.approx(2.5 / 3)
    assert found.upper - found.lower == pytest.approx(2 * 1.96 * found.sd)


def test_one_clip_has_a_bias_but_no_limits() -> None:
    found = agreement([StrainPair(-20, -18)])
    assert found.bias == pytest.approx(2.0)
    assert np.isnan(found.upper)


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=20))
def test_perfect_strain_agrees_perfectly(values: list[float]) -> None:
    found = agreement([StrainPair(value, value) for value in values])
    assert (found.bias, found.sd, found.mad, found.lower, found.upper) == (0, 0, 0, 0, 0)
