"""The overlay of one finished run: its pictures, its stages, the patches that stayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.trace import Trace
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError
from visionflow.report.figures.framing import Framing
from visionflow.report.figures.geometry import framings_of
from visionflow.report.figures.overlay import Panel, draw_overlay
from visionflow.report.figures.patches import patches_kept


@dataclass(frozen=True)
class Scene:
    """The pictures of one prompt, and where their patches are.

    Attributes:
        pictures: the originals, RGB.
        framings: one of each picture.
        patch: side of the patch that one image token shows, in pixels of the model's input.
        image_columns: int64, the columns of the prompt's image tokens.
    """

    pictures: Sequence[Image.Image]
    framings: Sequence[Framing]
    patch: int
    image_columns: Tensor

    @classmethod
    def of_prompt(cls, model: PreTrainedModel, processor: Any, pictures: Sequence[Image.Image], inputs: Any) -> "Scene":
        """The scene of a prompt of one sample that `processor` made of `pictures`.

        Raises:
            VisionFlowError: where its image tokens lie in the pictures is not known.
        """
        columns = (inputs["input_ids"][0] == family_of(model).image_token_id(model)).nonzero().flatten()
        sizes = [picture.size for picture in pictures]
        return cls(pictures, *framings_of(model, processor.image_processor, sizes, inputs, len(columns)), columns)

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


def scene_or_reason(
    model: PreTrainedModel, processor: Any, pictures: Sequence[Image.Image], inputs: Any
) -> tuple[Scene | None, str]:
    """The scene of a prompt, or why there is none: all that needs no places in the picture goes on without."""
    try:
        return Scene.of_prompt(model, processor, pictures, inputs), ""
    except VisionFlowError as error:
        return None, str(error)
