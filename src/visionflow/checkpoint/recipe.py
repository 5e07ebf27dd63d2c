"""What training is, in numbers, apart from how long it takes."""

from dataclasses import dataclass, field
from typing import Literal

from visionflow.checkpoint.build import Geometry
from visionflow.checkpoint.data import Hiding

Phase = Literal["tower", "language"]


@dataclass(frozen=True)
class Recipe:
    """What training is, apart from how long it takes; shares are of the whole budget.

    Every `pairs_every`-th step is about two pictures a row once the course has come to `pairs_from`.
    """

    geometry: Geometry = field(default_factory=Geometry)
    tower_pictures: int = 16
    pictures: int = 6
    chunks: int = 8
    pairs_every: int = 6
    pairs_from: float = 0.5
    hiding: Hiding = field(default_factory=Hiding)
    tower_share: float = 0.039
    easy_share: float = 0.3
    ground_weight: float = 0.2
    meant_layers: int = 8
    meant_weight: float = 0.5
    look_every: int = 5
    tower_rate: float = 2e-3
    later_tower_rate: float = 5e-4
    language_rate: float = 2e-3
    warm_up_steps: int = 100
    decay_share: float = 0.3
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    validation_pictures: int = 32
    seed: int = 0
