"""Answers on disk: a stopped run goes on, another run is refused."""

import json
from pathlib import Path

import pytest

from tests.lmms.test_questions import question
from visionflow.errors import VisionFlowError
from visionflow.lmms.answers import Answers
from visionflow.lmms.questions import Answer

RUN = {"model": "tiny", "method": "FastV(k=2, r=0.5)"}
QUESTIONS = [question(number) for number in range(3)]


def filled(folder: Path, process: int = 0) -> Answers:
    answers = Answers(folder, RUN, process)
    answers.keep(QUESTIONS, [Answer(f"answer {number}", {"paper": [1, 2]}) for number in range(3)])
    return answers


def test_what_is_kept_is_known_again(tmp_path: Path) -> None:
    assert filled(tmp_path / "run").known == Answers(tmp_path / "run", RUN, process=3).known
    line = json.loads((tmp_path / "run" / "answers-0.jsonl").read_text().splitlines()[1])
    assert (line["task"], line["number"], line["answer"]) == ("task", 1, "answer 1")


def test_a_half_line_is_dropped_and_what_comes_after_it_stands_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "answers-0.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    other = file.read_bytes()
    assert len(Answers(tmp_path, RUN, process=1).known) == 2
    assert file.read_bytes() == other  # another process may be writing it
    again = Answers(tmp_path, RUN)
    assert len(again.known) == 2
    again.keep(QUESTIONS[2:], [Answer("answer 2", {})])
    assert len(Answers(tmp_path, RUN).known) == 3


def test_another_run_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(VisionFlowError, match=r"whose method is FastV\(k=2, r=0.5\), not dense: choose another"):
        Answers(tmp_path, RUN | {"method": "dense"})
    for damaged in ("no json", "[]", '{"key": "a", "answer": "b", "facts": []}', '{"key": ["a"]}'):
        (tmp_path / "answers-0.jsonl").write_text(f"{damaged}\n")
        for process in (0, 1):
            with pytest.raises(VisionFlowError, match=r"answers-0[.]jsonl is damaged in line 1"):
                Answers(tmp_path, RUN, process)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(VisionFlowError, match=r"run[.]json is damaged"):
        Answers(tmp_path, RUN)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(VisionFlowError, match="cannot keep results"):
        Answers(tmp_path / "file", RUN)
