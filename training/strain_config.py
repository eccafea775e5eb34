"""Settings of `eval-strain`, with their defaults."""

from pydantic import Field

from specktrack.rt.config import SessionConfig
from specktrack.rt.settings import Section


class HeartsConfig(Section):
    """Which virtual hearts."""

    count: int = Field(default=20, ge=0)
    seed: int = Field(default=710000, ge=0)
    views: tuple[str, ...] = ("a4c", "a2c", "a3c")
    seconds: float = Field(default=4.5, gt=1.0)
    frame_rate_hz: float = Field(default=55.0, gt=0)
    size_px: int = Field(default=256, ge=64)
    least_contrast: float = 1.5  # standard deviations between wall and cavity: less is no picture of a heart
    regular: bool = False  # equal beats at the drawn rate, within 50 to 100 a minute


class StrainEvalConfig(Section):
    """What is measured, on what, and where the report goes."""

    out: str = "runs/strain"
    model: str = "specknet-s"
    threads: int = Field(default=0, ge=0)
    drawn: str = "ed"  # where the contour is drawn: the first end-diastole (ed) or diastasis (rest) of the recording
    hearts: HeartsConfig = HeartsConfig()
    drift_hearts: HeartsConfig = HeartsConfig(count=1, seed=720000, seconds=32.0, regular=True)
    rate_hearts: HeartsConfig = HeartsConfig(count=0, seed=730000)  # each filmed at each of `rates_hz`
    rates_hz: tuple[float, ...] = (30.0, 40.0, 55.0, 80.0)
    clips: tuple[str, ...] = ()  # folders of annotated clips, of which one beat each is measured at its true events
    session: SessionConfig = SessionConfig()
    figures: bool = True
