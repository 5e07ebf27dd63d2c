"""A method and its plan in a file, with the model they are for: JSON, read again by every ``--method``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from visionflow.core.plan import Cut, Plan
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method

SCHEMA = 1
"""The version of what stands in the file."""


@dataclass(frozen=True)
class SavedPlan(Method):
    """A plan that no method of this version makes: of a plug-in that is not installed, or of an older version.

    Attributes:
        content: the plan.
    """

    name: ClassVar[str] = "plan"

    content: Plan

    def cuts(self) -> tuple[Cut, ...]:
        """Those of the plan."""
        return self.content.cuts

    def plan(self) -> Plan:
        """It, as it was saved."""
        return self.content


@dataclass(frozen=True)
class PlanFile:
    """What stands in a plan file.

    Attributes:
        method: as `Method.to_dict` makes it.
        plan: what it does, as `Plan.to_dict` makes it.
        num_layers: decoder layers of the model that it is for.
        architecture: the ``model_type`` of that model.
        schema: version of the file's form.
    """

    method: Mapping[str, Any]
    plan: Mapping[str, Any]
    num_layers: int
    architecture: str
    schema: int = SCHEMA

    @classmethod
    def of(cls, method: Method, num_layers: int, architecture: str) -> "PlanFile":
        """A method for a model.

        Raises:
            UnsupportedUsageError: the model is too shallow for it.
            VisionFlowError: its plan holds what cannot travel, such as a function.
        """
        plan = method.plan()
        plan.check_depth(num_layers)
        return cls(method.to_dict(), plan.to_dict(), num_layers, architecture)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str = "this") -> "PlanFile":
        """What `to_dict` made.

        Raises:
            VisionFlowError: it is no plan, or of a version that is not known.
        """
        kinds = {"schema": int, "method": Mapping, "plan": Mapping, "num_layers": int, "architecture": str}
        if not isinstance(content, Mapping) or not all(
            isinstance(content.get(name), kind) for name, kind in kinds.items()
        ):
            raise VisionFlowError(f"{where} is no plan: it needs {', '.join(kinds)}")
        if content["schema"] != SCHEMA:
            raise VisionFlowError(
                f"{where} has schema {content['schema']}, and this version of visionflow knows {SCHEMA}: make it again"
            )
        return cls(**{each.name: content[each.name] for each in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """What stands in the file."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> "PlanFile":
        """The plan at `path`.

        Raises:
            VisionFlowError: it cannot be read, or is none.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise VisionFlowError(f"cannot read the plan {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise VisionFlowError(f"{path} is no plan: it is not valid JSON ({error})") from error
        return cls.from_dict(content, str(path))

    def write(self, path: Path) -> None:
        """Write it.

        Raises:
            VisionFlowError: it cannot be written.
        """
        try:
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise VisionFlowError(f"cannot write the plan {path}: {error.strerror or error}") from error

    def check_model(self, num_layers: int | None, architecture: str = "") -> None:
        """Refuse a model of another depth or architecture than the plan's, as far as they are known.

        Raises:
            VisionFlowError: it is another one.
        """
        if num_layers is not None and num_layers != self.num_layers:
            raise VisionFlowError(
                f"the plan is for {self.num_layers} decoder layers, the model has {num_layers}: make one for it"
            )
        if architecture and architecture != self.architecture:
            raise VisionFlowError(
                f"the plan is for the architecture {self.architecture}, the model is {architecture}: make one for it"
            )
