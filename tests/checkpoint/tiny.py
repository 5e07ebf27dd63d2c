"""The recipe in miniature."""

from visionflow.checkpoint.build import Geometry
from visionflow.checkpoint.recipe import Recipe

TINY = Geometry(
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    vision_mlp=16,
    text_width=16,
    text_layers=2,
    text_heads=2,
    text_kv_heads=1,
    text_head_width=8,
    text_mlp=16,
)
RECIPE = Recipe(
    geometry=TINY, tower_pictures=2, pictures=2, chunks=2, meant_layers=1, tower_share=0.5, validation_pictures=2,
    easy_share=0.1, pairs_every=2,
)  # fmt: skip
