"""What is typed after the options of all commands: what is no value is refused before anything is loaded."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from tests.cli.running import Run
from visionflow import __version__
from visionflow.bench.shapes import SHAPES, shape_config
from visionflow.cli import values
from visionflow.cli.app import COMMANDS, app
from visionflow.cli.flow_run import FOLLOWED
from visionflow.cli.options import MODEL_HELP, SHAPE_NAMES, TASKS
from visionflow.core.tokens import GroupName
from visionflow.cost.conventions import Convention
from visionflow.cost.load import PRESETS
from visionflow.cost.shape import DecoderShape
from visionflow.evaluation.rows import Sight
from visionflow.evaluation.samples import FORMS
from visionflow.flow.disruption import TargetName
from visionflow.flow.saliency_measures import CONVENTIONS, OBJECTIVES
from visionflow.methods import METHODS, himap, visipruner
from visionflow.scenes import EVERY_TASK, SPLITS

BAD = {
    "N": ("", "nan", "inf", "1.5", "two", "-1", "1e3", "9" * 30, "99999999999", "0x10"),
    "X": ("", "nan", "inf", "-inf", "half", "1e999", "-5"),
    "INT": ("", "nan", "inf", "1.5", "two", "1e3", "0x10"),
    "FLOAT": ("", "nan", "inf", "-inf", "half", "1e999"),
    "A+B": ("+", "middle+", "middle++deep", "middle,deep"),
    "MINUTES": ("", "nan", "inf", "-1", "long", "1e12"),
    "X,X": ("", ",", "0.5,", "0.5,nan", "0.5,0", "1", "half"),
    "N,N": ("", ",", "1,", "1,,2", "4-1", "-1", "nan", "1-", "0-99999999999", "1,x", "9" * 30, "1.5"),
    "0-4,7": ("", ",", "4-0", "0-", "-3", "0,,1", "nan", "0-99999999999", "0-4,x"),
    "A,B": ("", ",", "choice,,open", "choice,"),
}
NAMED = {"NAME", "METHOD", "DTYPE", "SIGHT", "GROUP", "MODE", "TASK", "SPLIT", "ENGINE"}  # one of a few words
FREE = {"MODEL", "DEVICE", "SUITE", "IMAGE", "COMMAND", "FILE", "FOLDER"}  # looked at by what uses it

BENCHES = ["bench", "scaling"]


GROUP: Any = typer.main.get_command(app)


@pytest.fixture
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer makes the commands anew at each call, which takes longer than all that is tested here."""
    monkeypatch.setattr(typer.main, "get_command", lambda _: GROUP)


def options(command: str) -> list[Any]:
    """The options of a command that take a value."""
    found = GROUP.commands[command]
    return [
        each
        for each in found.get_params(typer.Context(found))
        if each.param_type_name == "option" and not each.is_flag and each.name != "help"
    ]


EVERY = [(command, each.opts[0], each.metavar) for command in COMMANDS for each in options(command)]


@pytest.mark.usefixtures("built_once")
@pytest.mark.parametrize(("command", "flag", "metavar"), [each for each in EVERY if each[2] in BAD])
def test_bad_numbers_and_lists_name_the_option(visionflow: Run, command: str, flag: str, metavar: str) -> None:
    for typed in BAD[metavar]:
        code, out, err = visionflow(command, f"{flag}={typed}")
        assert (code, out) == (2, ""), typed
        assert re.fullmatch(f"visionflow: Invalid value for '{flag}': .+; see visionflow {command} --help\n", err), (
            typed
        )


@pytest.mark.parametrize(("command", "flag", "metavar"), [each for each in EVERY if each[2] in NAMED])
def test_another_word_is_answered_with_those_there_are(visionflow: Run, command: str, flag: str, metavar: str) -> None:
    code, out, err = visionflow(command, flag, "other")
    assert (code, out) == (2, "")
    assert re.search(rf"Invalid value for '{flag}': (unknown \w+ 'other': choose|\w+ must be) one of \w+", err)


@pytest.mark.parametrize(("command", "flag", "metavar"), [each for each in EVERY if each[2] in FREE])
def test_an_empty_word_is_no_value(visionflow: Run, command: str, flag: str, metavar: str) -> None:
    for typed in ("", " "):
        code, out, err = visionflow(command, f"{flag}={typed}")
        assert (code, out) == (2, "")
        assert re.search(rf"Invalid value for '{flag}'( / '-\w')?: it is empty", err)


def test_every_value_is_read_by_one_of_the_parsers() -> None:
    assert {metavar for _, _, metavar in EVERY} == set(BAD) | NAMED | FREE


@pytest.mark.parametrize("command", COMMANDS)
def test_typer_alone_tells_the_defaults(command: str) -> None:
    assert [each.name for each in options(command) if "default" in (each.help or "")] == []


@pytest.mark.parametrize("name", ["dtype", "device", "threads", "attention"])
def test_a_shared_option_is_the_same_in_every_command(name: str) -> None:
    assert len({each.help for command in COMMANDS for each in options(command) if each.name == name}) == 1


def test_every_model_option_takes_the_same_three_kinds() -> None:
    helps = {command: each.help for command in COMMANDS for each in options(command) if each.name == "model"}
    assert COMMANDS.keys() - helps.keys() == {"scenes", "train", "serve", "export"}
    assert [command for command, told in helps.items() if f"saved model: {MODEL_HELP}" not in told] == BENCHES
    assert [command for command, told in helps.items() if f"saved LLaVA or Qwen2.5-VL: {MODEL_HELP}" in told] == BENCHES


@pytest.mark.parametrize(
    ("parser", "typed", "value"),
    [
        (values.whole(1, 5), " 3 ", 3),
        (values.whole(0, 2**32 - 1), "4294967295", 2**32 - 1),
        (values.number(0, 1, below=True), "0.25", 0.25),
        (values.number(0, 60), "1e1", 10.0),
        (values.numbers(0, 99), "7, 0-4,3", (0, 1, 2, 3, 4, 7)),
        (values.names, "b, a,b", ("b", "a")),
        (values.some_of("task", "open", "choice"), "choice,open", ("choice", "open")),
        (values.numbers(0, 9), (1, 2), (1, 2)),
        (values.whole(1, 5), 3, 3),
        (values.word, "a name ", "a name "),
        (values.place, "runs/a b", Path("runs/a b")),
        (values.place, Path("runs"), Path("runs")),
    ],
)
def test_what_is_typed_is_read(parser: values.Parser, typed: object, value: object) -> None:
    assert parser(typed) == value


def test_long_lists_and_long_words_are_cut(visionflow: Run) -> None:
    _, _, err = visionflow("scaling", "--image-tokens", "1-5000")
    assert "1-5000 are more than 1000 numbers" in err
    _, _, err = visionflow("disrupt", "--layers", "x" * 5000)
    assert len(err) < 200


def test_the_words_are_those_of_the_package() -> None:
    """The options say them without importing what they are of; here they are held together."""
    assert tuple(FORMS) == EVERY_TASK == TASKS
    assert set(TASKS) - set(FOLLOWED) == {task for task, form in FORMS.items() if form == "caption"}
    words = {
        ("saliency", "objective"): tuple(OBJECTIVES),
        ("saliency", "convention"): tuple(CONVENTIONS),
        ("flops", "convention"): get_args(Convention),
        ("eval", "sight"): get_args(Sight),
        ("disrupt", "source"): get_args(GroupName),
        ("disrupt", "target"): (*get_args(GroupName), "random"),
        ("scenes", "split"): SPLITS,
        ("ask", "method"): tuple(METHODS),
        ("ask", "deep_criterion"): get_args(himap.DeepCriterion),
        ("ask", "token_scale"): get_args(visipruner.TokenScale),
    }
    assert "random" in str(TargetName)
    for (command, name), known in words.items():
        [found] = [each for each in options(command) if each.name == name]
        assert all(word in found.help for word in known), name


def test_a_shape_has_one_name_everywhere() -> None:
    assert tuple(SHAPE_NAMES.split(", ")) == tuple(SHAPES) == tuple(PRESETS)
    for name, shape in PRESETS.items():
        assert DecoderShape.from_config(shape_config(name)) == shape


def test_the_list_of_commands_tells_the_whole_sentence(visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = visionflow("-h")
    assert code == 0
    for command in COMMANDS.values():
        sentence = (command.__doc__ or "").split("\n\n")[0]
        assert "".join(sentence.split()) in "".join(out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_short_form(visionflow: Run, command: str) -> None:
    assert visionflow(command, "-h") == visionflow(command, "--help")


def test_the_version(visionflow: Run) -> None:
    assert visionflow("--version") == (0, f"visionflow {__version__}\n", "")
