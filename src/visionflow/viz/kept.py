"""The overlay of one finished run: its pictures, its stages, the patches that stayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from visionflow.runtime.trace import Trace
from visionflow.viz.framing import Framing, framing_of
from visionflow.viz.overlay import Panel, draw_overlay
from visionflow.viz.patches import patches_kept


@dataclass(frozen=True)
class Scene:
    """The pictures of one prompt, and where their patches are.

    Attributes:
        pictures: the originals, RGB.
        framings: one of each picture.
        patch: side of a patch, in pixels of the model's input.
        image_columns: int64, the columns of the prompt's image tokens.
    """

    pictures: Sequence[Image.Image]
    framings: Sequence[Framing]
    patch: int
    image_columns: Tensor

    @classmethod
    def of_prompt(cls, pictures: Sequence[Image.Image], inputs: Any, processor: Any, image_token_id: int) -> "Scene":
        """The scene of a prompt that `processor` made of `pictures`.

        Raises:
            VisionFlowError: the processor's geometry cannot be followed.
        """
        height, width = inputs["pixel_values"].shape[-2:]
        framings = [framing_of(processor.image_processor, picture.size, (width, height)) for picture in pictures]
        columns = (inputs["input_ids"][0] == image_token_id).nonzero().flatten()
        return cls(pictures, framings, processor.patch_size, columns)

    def patches(self) -> list[int]:
        """Patches of each picture."""
        return [len(framing.patch_boxes(self.patch)) for framing in self.framings]

    def kept(self, trace: Trace) -> list[list[list[int]]]:
        """Per stage and picture, the numbers of the kept patches, row by row from 0."""
        return [patches_kept(stage.kept[0], self.image_columns, self.patches()) for stage in trace.stages]

    def overlay(self, trace: Trace, heading: str) -> Image.Image:
        """The picture of what each stage of `trace` kept."""
        kept = self.kept(trace)
        rows = []
        for number, (picture, framing, count) in enumerate(
            zip(self.pictures, self.framings, self.patches(), strict=True)
        ):
            panels = [Panel("What the model sees", f"{count} patches")]
            for stage, patches in zip(trace.stages, kept, strict=True):
                here = patches[number]
                panels.append(Panel(f"From layer {stage.layer}", f"{len(here)} of {count} patches kept", here))
            rows.append((picture, framing, self.patch, panels))
        return draw_overlay(rows, heading)
