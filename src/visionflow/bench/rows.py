"""The rows of a bench: methods as `visionflow.method` takes them, with the settings of their papers or those typed."""

from collections.abc import Sequence
from dataclasses import dataclass

from visionflow.core.cutting import asked_of
from visionflow.errors import VisionFlowError
from visionflow.methods import METHODS, Method, parse

DENSE = "none"


@dataclass(frozen=True)
class Variant:
    """One way of running a model.

    Attributes:
        name: of the method, or as it was typed where several rows are of one method.
        method: None for the unpruned model.
    """

    name: str
    method: Method | None

    @property
    def settings(self) -> str:
        """The call that makes the method."""
        return str(self.method) if self.method else "no pruning"


def bench_rows(named: Sequence[str], num_layers: int, architecture: str = "") -> list[Variant]:
    """The unpruned model first, then each of `named`: ``himap``, or with settings ``fastv:k=3,r=0.75``.

    Raises:
        VisionFlowError: there is no such method or setting, a value is out of range, the model is too shallow, or the
            method looks at the vision tower, which is run once for all rows.
    """
    specs = {each: parse(each) for each in named if each != DENSE}
    called = [spec.method.name for spec in specs.values()]
    rows = [Variant(DENSE, None)]
    for typed, spec in specs.items():
        usual = spec.with_defaults(spec.method.bench_defaults(num_layers))
        name = spec.method.name if called.count(spec.method.name) == 1 else typed
        method = usual.of(num_layers, architecture=architecture)
        if "tower" in asked_of(method.plan()):
            raise VisionFlowError(
                f"{spec.method.name} looks at the vision tower, which a bench runs once for all rows: leave it out"
            )
        rows.append(Variant(name, method))
    return rows


def rows_that_fit(named: Sequence[str], num_layers: int, architecture: str = "") -> tuple[list[Variant], list[str]]:
    """The same, without the methods that do not fit the model, such as a shallow one; of these, a sentence each."""
    fitting, left_out = [], []
    for name in named:
        try:
            bench_rows((name,), num_layers, architecture)
            fitting.append(name)
        except VisionFlowError as error:
            left_out.append(f"{name} is left out: {error}")
    return bench_rows(fitting, num_layers, architecture), left_out


def all_methods() -> list[str]:
    """The names of the rows that are shown where none are asked for."""
    return list(METHODS)


def check_methods(named: Sequence[str]) -> None:
    """Refuse what no model makes right: unknown methods and settings, values out of range."""
    for spec in (parse(each) for each in named if each != DENSE):
        spec.check()
