"""How TensorRT builds a plan: all options with their defaults; `--set key=value` and a YAML file override them."""

from pydantic import Field

from specktrack.rt.errors import InputError
from specktrack.rt.settings import Section

MOST_TEMPLATES = 4  # two anchors and two recent frames a point


class BuildConfig(Section):
    """Options of the builder. Whatever changes the plan is part of the cache's key."""

    workspace_mib: int = Field(default=2048, ge=64)
    optimization_level: int = Field(default=3, ge=0, le=5)  # 5 searches longest
    timing_cache: bool = True  # kept beside the plans, so that the next build is quick

    def flags(self) -> tuple[str, ...]:
        """What of it decides the plan, for the key."""
        return (f"workspace={self.workspace_mib}", f"level={self.optimization_level}", "no-tf32")


def point_counts(text: str) -> tuple[int, int, int]:
    """`MIN,OPT,MAX` of --points; raises InputError."""
    try:
        least, best, most = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--points {text}: expected MIN,OPT,MAX, for example 1,64,256") from error
    if not 1 <= least <= best <= most <= 4096:
        raise InputError(f"--points {text}: expected 1 <= MIN <= OPT <= MAX <= 4096, for example 1,64,256")
    return least, best, most
