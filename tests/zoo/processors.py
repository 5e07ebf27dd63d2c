"""Which packages a family's processor and model need beside visionflow's own, and the page that says so.

``python -m tests.zoo.processors`` writes docs/processors.md; tests/cli/test_families.py keeps it true.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from tests.zoo.kits import KITS
from visionflow.loading.models import NO_QUESTIONS
from visionflow.loading.prompts import WITHOUT_TEMPLATE

PAGE = Path(__file__).parents[2] / "docs" / "processors.md"
BY_CLASS = {
    "PixtralProcessor": ("torchvision", "its class asks for it"),
    "FuyuProcessor": ("torchvision", "its image processor's PIL form fails on torch's pictures"),
    "SmolVLMProcessor": ("num2words", "its class asks for it"),
}
TIMM = ("fast_vlm", "gemma3n", "perception_lm")

HEAD = """# What the processors of the families need

Made by `python -m tests.zoo.processors`. For every family that can be pruned, a tiny model with random weights and its
own stock processor (tokenizer, image processor, and video processor, feature extractor and chat template where it has
them: tests/zoo/kits.py) is saved as a checkpoint, and `visionflow ask` and `visionflow eval` are run on it. Where the
packages that its row names are installed, they answer; where not, they say in one line which to install. Rows without
a package need nothing beside visionflow's own dependencies. `make test` does this for a few families and `make slow`
for all, without torchvision; `make test-processors` does it with all packages. No released checkpoint was run.
The rows are those of transformers 5.23.

Image processors are taken in their PIL form where transformers has one, with torchvision as without it, so that
pixels are the same. Prompts of families without a chat template are as transformers' pages on them have it.

"""


class Need(NamedTuple):
    """A package, and what asks for it."""

    package: str
    reason: str


def needs_of(model_type: str) -> list[Need]:
    """What the family needs beside visionflow's own dependencies."""
    kit, needs = KITS[model_type], []
    if kit.video:
        needs.append(Need("torchvision", "its video processor is part of the processor"))
    elif not has_pil_form(kit.image["image_processor_type"]):
        needs.append(Need("torchvision", "its image processor has no PIL form"))
    if kit.processor in BY_CLASS:
        needs.append(Need(*BY_CLASS[kit.processor]))
    if model_type in TIMM:
        needs.append(Need("timm", "its vision tower comes from there"))
    return needs


def has_pil_form(image_processor: str) -> bool:
    """Whether transformers has a PIL form of the image processor."""
    forms = [names for names in IMAGE_PROCESSOR_MAPPING_NAMES.values() if image_processor in names.values()]
    return any(names.get("pil") for names in forms)


def missing_of(model_type: str) -> list[str]:
    """The packages that the family needs and that are not here."""
    return [need.package for need in needs_of(model_type) if find_spec(need.package) is None]


def page() -> str:
    """The page, in Markdown."""
    lines = ["| model type | processor | prompt | needs | why |", "|---|---|---|---|---|"]
    for name, kit in sorted(KITS.items()):
        prompt = "no template" if kit.processor in WITHOUT_TEMPLATE else "chat template"
        needs = needs_of(name)
        packages, reasons = ", ".join(need.package for need in needs), "; ".join(need.reason for need in needs)
        if name in NO_QUESTIONS:
            prompt, reasons = "refused", NO_QUESTIONS[name]
        lines.append(f"| {name} | {kit.processor} | {prompt} | {packages} | {reasons} |")
    free = sum(not needs_of(name) for name in KITS if name not in NO_QUESTIONS)
    count = (
        f"{len(KITS) - len(NO_QUESTIONS)} of {len(KITS)} families answer, {free} of them with nothing more installed."
    )
    return HEAD + count + "\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
