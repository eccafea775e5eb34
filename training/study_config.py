"""Settings of `study-tracker`: the reduced but honest size that all studies share, and what each one varies."""

from typing import Annotated, Literal

from pydantic import Field

from specktrack.rt.settings import Section
from specktrack.training.combination import Kind
from specktrack.training.data import QueryShares

AffineName = Literal["none", "zoom", "flips", "30", "60", "120"]
Scale = Annotated[int, Field(ge=0, le=2)]  # 0 fine (stride 2), 1 middle, 2 coarse
View = str


class BiasStudy(Section):
    """Direction of motion as a habit: augmentation on and off, known and unknown directions."""

    arms: tuple[AffineName, ...] = ("none", "zoom", "120")
    unseen_views: tuple[View, ...] = ("rv",)
    turned_deg: float = 90.0  # the known views once more, turned by this


class PhaseStudy(Section):
    """Where in the beat to set the points."""

    weights: str = "specknet-s"  # a shipped network or a checkpoint, asked frame by frame
    stream: str = "specknet-s"  # a model run through the tracker of the stream as well; empty: none
    views: tuple[View, ...] = ()  # empty: all
    step_percent: float = Field(default=5.0, gt=0, le=50)
    size: int = Field(default=256, ge=64, multiple_of=8)
    search_px: int = Field(default=65, ge=5)
    rate_edges_bpm: tuple[float, ...] = (65.0, 80.0)  # between the heart-rate groups


class Arm(Section):
    """One way to combine the scales."""

    name: str
    kind: Kind = "product"
    scales: tuple[Scale, ...] = Field(default=(0, 1, 2), min_length=1)
    gamma: float = Field(default=15.0, gt=0)


class CombineStudy(Section):
    """Multiply, add, learn, or use one scale."""

    arms: tuple[Arm, ...] = (
        Arm(name="product"),
        Arm(name="sum", kind="sum"),
        Arm(name="sum, as sharp as the product", kind="sum", gamma=45.0),
        Arm(name="learned", kind="learned"),
        Arm(name="fine only", scales=(0,)),
        Arm(name="middle only", scales=(1,)),
        Arm(name="coarse only", scales=(2,)),
    )
    false_peak_px: tuple[float, float] = (8.0, 20.0)  # distance of the planted peak from the truth
    false_peak_height: float = Field(default=0.98, gt=0, le=1)  # similarity


class GammaStudy(Section):
    """The exponent."""

    values: tuple[float, ...] = (1.0, 5.0, 10.0, 15.0, 20.0, 30.0)
    learned_from: float = Field(default=10.0, gt=0)  # where the learned exponent starts


class ScalesStudy(Section):
    """How many scales."""

    subsets: tuple[tuple[Scale, ...], ...] = ((0,), (0, 1), (0, 1, 2))


class SelfSupervision(Section):
    """Fine-tuning on clips without tracks."""

    weights: str = "specknet-s"
    clips: tuple[str, ...] = ()  # unlabelled: videos, .npz or .npy files, or folders of them
    frame_rate_hz: float = Field(default=50.0, gt=0)  # of clips that do not say
    reference_clip: str = ""
    reference_tracks: str = ""  # .npz with tracks (N, T, 2), visible (N, T), query_frame
    size: int = Field(default=256, ge=64, multiple_of=8)
    search_px: int = Field(default=41, ge=5)
    steps: int = Field(default=600, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    n_points: int = Field(default=48, ge=1)
    cycle_weight: float = Field(default=0.5, ge=0)
    closure_weight: float = Field(default=0.25, ge=0)
    jitter_px: float = Field(default=4.0, gt=0)  # of the searched squares, against answers that ignore the image
    cap_px: float = Field(default=6.0, gt=0)  # a longer way back counts no more: the wall left the plane
    check_every: int = Field(default=50, ge=1)
    least_spread: float = Field(default=0.6, gt=0, lt=1)  # of the features' variance at the start: less is collapse


class StudyConfig(Section):
    """What `study-tracker` is told."""

    train: tuple[str, ...] = ("runs/data/train",)  # folders of clips
    held_out: tuple[str, ...] = ("runs/data/val",)
    train_views: tuple[View, ...] = ("a4c", "a2c", "a3c")  # empty: all
    clips: int = Field(default=40, ge=0)  # training clips of each view at most; 0: all
    held_out_clips: int = Field(default=30, ge=0)  # of each view at most; 0: all
    model: str = "specknet-s"
    size: int = Field(default=128, ge=64, multiple_of=8)
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=6, ge=1)  # pairs
    n_points: int = Field(default=32, ge=1)  # of a pair, and of a held-out clip
    search_px: int = Field(default=49, ge=5)  # side of the square around the query point; no motion prior
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    likelihood: float = Field(default=0.5, ge=0)  # weight of the log-likelihood beside the L1
    affine: AffineName = "120"
    query: QueryShares = QueryShares(diastasis=1.0, first=0.0, random=0.0)  # anchors of training, the paper's choice
    gamma: float = Field(default=15.0, gt=0)
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=0, ge=0)
    out: str = "runs/studies"
    bias: BiasStudy = BiasStudy()
    phase: PhaseStudy = PhaseStudy()
    combine: CombineStudy = CombineStudy()
    gammas: GammaStudy = GammaStudy()
    scales: ScalesStudy = ScalesStudy()
    selfsup: SelfSupervision = SelfSupervision()
