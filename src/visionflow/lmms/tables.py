"""What has to be run for the tables of the HiMAP and the VisiPruner paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visionflow.cost import PRESETS, Convention, DecoderShape
from visionflow.errors import VisionFlowError
from visionflow.lmms import data_sets, marks
from visionflow.lmms.data_sets import DataSet
from visionflow.lmms.marks import Marks, Sample, Total, percent
from visionflow.lmms.settings import DENSE, method_of
from visionflow.methods import HiMAP, Method
from visionflow.papers import HIMAP_TABLES, MODELS, VISIPRUNER_TABLE, Printed, PrintedTable


@dataclass(frozen=True)
class Column:
    """One data set of a table.

    Attributes:
        title: as printed.
        task: lmms-eval's, or ours.
        asked: the task with the paper's own prompt, where there is one.
        data_set: that it reads.
        marks: from the log to what each question got.
        total: from there to the score.
        note: why a difference may be that of protocols.
    """

    title: str
    task: str
    data_set: DataSet
    marks: Callable[[Sequence[Sample]], Marks]
    total: Total = percent
    asked: str = ""
    note: str = ""


@dataclass(frozen=True)
class TableRow:
    """One method of a table.

    Attributes:
        name: of its folder.
        title: as printed, with what the paper leaves open.
        printed: the row of the paper that it is held against.
        method: its name in `visionflow.methods.METHODS`, or dense.
        settings: the rest, beside the paper's.
    """

    name: str
    title: str
    printed: str
    method: str
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        name: on the command line.
        title: for people.
        kind: the setting of HiMAP that it is of.
        convention: in which its cost is counted.
        rows: what is run.
        columns: what is asked.
        paper: what is printed.
        left_out: what of the paper's table is not here, and why.
    """

    name: str
    title: str
    kind: str
    convention: Convention
    rows: tuple[TableRow, ...]
    columns: tuple[Column, ...]
    paper: PrintedTable
    left_out: str

    def printed(self, model: str, row: TableRow) -> Printed:
        """What the paper prints of one of its models, and the method that `row` is held against."""
        return next(each for each in self.paper.lines if (each.model, each.name) == (model, row.printed))

    def model_of(self, shape: DecoderShape) -> str | None:
        """The paper's name of the model with this shape; None where it is none of the paper's."""
        return next((name for name, preset in MODELS.items() if PRESETS[preset] == shape), None)

    def method(self, row: TableRow, shape: DecoderShape, name: str) -> Method | None:
        """A row's method with the paper's settings, or, for a model that is not the paper's, at a like depth.

        Args:
            row: which.
            shape: the decoder.
            name: what the model is called.

        Raises:
            VisionFlowError: this version has no such method, or the model is too shallow.
        """
        model, settings = self.model_of(shape), dict[str, object](row.settings)
        if model and row.method == HiMAP.name:
            preset = HiMAP.preset(MODELS[model], self.kind)
            settings |= {"k1": preset.k1, "r1": preset.r1, "k2": preset.k2, "r2": preset.r2}
        return method_of(row.method, settings, shape.num_layers, name)


def table_called(name: str) -> PaperTable:
    """The table of that name.

    Raises:
        VisionFlowError: there is none.
    """
    if name not in PAPER_TABLES:
        raise VisionFlowError(f"unknown table {name!r}: choose one of {', '.join(PAPER_TABLES)}")
    return PAPER_TABLES[name]


_HIMAP_ROWS = (
    TableRow("dense", "Baseline", "Baseline", DENSE),
    TableRow("fastv", "FastV", "FastV", "fastv"),
    TableRow("himap-paid", "HiMAP (eq. 9 as printed)", "HiMAP", "himap", (("deep_criterion", "paid"),)),
    TableRow("himap-received", "HiMAP (as released)", "HiMAP", "himap", (("deep_criterion", "received"),)),
)
_NOT_HARNESS = "the same model scores {score} in lmms-eval according to FastV's README, so the paper scored otherwise"
_OPEN_PROMPT = "the paper states no prompt"
_MULTIPLE_CHOICE = (
    Column(
        "Sci-VQA",
        "scienceqa_img",
        data_sets.SCIENCE_QA,
        marks.exact_match,
        asked="scienceqa_img_himap",
        note="the released code asks as lmms-eval does, with the hint first: see --prompts harness",
    ),
    Column("A-OKVQA", "aokvqa", data_sets.A_OKVQA, marks.exact_match, asked="aokvqa_himap"),
    Column("POPE", "pope", data_sets.POPE, marks.pope, asked="pope_himap"),
)
_OPEN_ENDED = (
    Column("Nocaps", "nocaps_val_cider", data_sets.NOCAPS, marks.captions, note=_NOT_HARNESS.format(score="105.5")),
    Column(
        "Flickr30k", "flickr30k_test_cider", data_sets.FLICKR30K, marks.captions, note=_NOT_HARNESS.format(score="74.9")
    ),
    Column(
        "LLaVA-Bench",
        "llava_in_the_wild",
        data_sets.LLAVA_BENCH,
        marks.llava_bench,
        marks.proportion,
        note=_OPEN_PROMPT,
    ),
    Column("MM-Vet", "mmvet", data_sets.MM_VET, marks.mm_vet, asked="mmvet_question", note=_OPEN_PROMPT),
)
_VISIPRUNER_COLUMNS = (
    Column("GQA", "gqa", data_sets.GQA, marks.exact_match),
    Column("SQA-I", "scienceqa_img", data_sets.SCIENCE_QA, marks.exact_match),
    Column(
        "VQA-T",
        "textvqa_val",
        data_sets.TEXT_VQA,
        marks.exact_match,
        note="LLaVA's script, which the paper uses, adds OCR tokens to the prompt; lmms-eval does not",
    ),
    Column(
        "POPE",
        "pope",
        data_sets.POPE,
        marks.pope,
        note="the paper does not say which of POPE's scores it prints; here accuracy",
    ),
    Column("MME-P", "mme", data_sets.MME, marks.mme_perception, marks.summed),
    Column("MMB", "mmbench_en_dev_static", data_sets.MMBENCH, marks.mmbench),
    Column("MMStar", "mmstar", data_sets.MMSTAR, marks.mmstar),
)

PAPER_TABLES: dict[str, PaperTable] = {
    table.name: table
    for table in (
        PaperTable(
            "himap-table1",
            "Table 1 of the HiMAP paper: multiple choice and object hallucination",
            "multiple-choice",
            "paper",
            _HIMAP_ROWS,
            _MULTIPLE_CHOICE,
            HIMAP_TABLES[0],
            "QwenVL-Chat-7B is left out: the paper states no setting for it (the model itself is in visionflow.legacy)",
        ),
        PaperTable(
            "himap-table2",
            "Table 2 of the HiMAP paper: captions and open-ended questions",
            "open-ended",
            "paper",
            _HIMAP_ROWS,
            _OPEN_ENDED,
            HIMAP_TABLES[1],
            "",
        ),
        PaperTable(
            "visipruner-table5",
            "Table 5 of the VisiPruner paper",
            "",
            "gated",
            (
                TableRow("dense", "Baseline", "Baseline", DENSE),
                TableRow("visipruner", "VisiPruner", "VisiPruner", "visipruner"),
            ),
            _VISIPRUNER_COLUMNS,
            VISIPRUNER_TABLE,
            "InternVL2.5-8B, Qwen2-VL-7B and MobileVLM-v2-3B are left out: the paper states no settings for them",
        ),
    )
}
