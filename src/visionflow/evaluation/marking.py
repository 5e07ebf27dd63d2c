"""Whether an answer is right, by the form that its task wants."""

from visionflow.evaluation.answers import matches, naming, option_letter, yes_no
from visionflow.evaluation.records import Record
from visionflow.evaluation.samples import Sample


def is_right(sample: Sample, answer: str) -> bool:
    """Whether `answer` is the right one; of a caption, whether it names exactly the objects that are there.

    Letters are read by `option_letter`, yes and no under the strict convention, short answers by `matches`.
    """
    if sample.form == "letter":
        return option_letter(answer, sample.options) == sample.gold[0]
    if sample.form == "yes_no":
        return yes_no(answer) == (sample.gold[0] == "yes")
    if sample.form == "caption":
        return naming(answer, sample.objects).exact
    return matches(answer, sample.gold)


def marked(record: Record, sample: Sample) -> Record:
    """The record with `right` as `is_right` has it of every answer, and of a caption with the objects to name.

    Records that older versions wrote took a caption for right that named every object and more.
    """
    if sample.form != "caption":
        return record
    rows = {name: row | {"right": is_right(sample, row["answer"])} for name, row in record["rows"].items()}
    return record | {"objects": list(sample.objects), "rows": rows}
