"""`visionflow train`: one step from nothing to a model folder, and one clear sentence for what cannot be done."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from visionflow.checkpoint import training
from visionflow.cli.train import train
from visionflow.errors import VisionFlowError

app = typer.Typer()
app.command()(train)


def run(*arguments: str) -> str:
    """Standard output of the command, or its `VisionFlowError`."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.mark.slow
def test_one_step_leaves_a_model_and_a_curve(tmp_path: Path) -> None:
    folder = Path(run("--out", str(tmp_path), "--steps", "1").strip())
    assert (folder / "model.safetensors").stat().st_size < 25e6
    assert {file.name for file in folder.iterdir()} >= {"config.json", "tokenizer.json", "processor_config.json"}
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--device", "nonsense"], "unknown device 'nonsense'"),
        (["--steps", "1", "--minutes", "1"], "not both"),
        (["--minutes", "0"], "more than zero"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(VisionFlowError, match=sentence):
        run("--out", str(tmp_path), *options)


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(VisionFlowError, match=r"--out .* cannot be a folder, .*file is a file"):
        run("--out", str(tmp_path / "file" / below), "--steps", "1")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "kept")]


@pytest.mark.parametrize("step", ["_learner", "_cut_curve"])
def test_stopped_before_the_first_state_there_is_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, step, stopped)
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "run"), "--steps", "1"])
    assert result.exit_code == 130
    assert "visionflow: stopped; nothing was trained yet" in result.stderr


def test_stopped_later_it_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / training.STATE).write_text("a state")

    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stopped)
    result = CliRunner().invoke(app, ["--out", str(tmp_path), "--resume"])
    assert f"the same command with --resume goes on from {tmp_path}" in result.stderr
