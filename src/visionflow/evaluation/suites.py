"""What is asked: the suites by name, and those in files."""

from pathlib import Path

from visionflow.errors import VisionFlowError
from visionflow.evaluation.datafile import suite_in
from visionflow.evaluation.samples import FORMS, Sample, Suite


def suite_called(name: str) -> Suite:
    """The suite of that name, or in that file where it ends in .parquet.

    Raises:
        VisionFlowError: there is none, or it cannot be read.
    """
    if name.endswith(".parquet"):
        return suite_in(Path(name))
    if name not in SUITES:
        raise VisionFlowError(f"unknown suite {name!r}: choose one of {', '.join(SUITES)}, or a .parquet file")
    return SUITES[name]


def _scenes(task: str, number: int) -> Sample:
    """A sample of the generated world, from its test split."""
    from visionflow.scenes import draw, relevant_patches, sample_item

    scene, item = sample_item(task, "test", number)
    return Sample(
        id=f"{task}-{number}",
        task=task,
        kind=item.kind,
        form=FORMS[task],
        question=item.question,
        prompt=item.prompt,
        gold=item.gold,
        options=item.options,
        objects=tuple(each.name for each in scene.objects) if task == "caption" else (),
        image=lambda: draw(scene),
        relevant=lambda grid: relevant_patches(scene, item.about, grid),
    )


SUITES: dict[str, Suite] = {"scenes": Suite("scenes", FORMS, _scenes)}
