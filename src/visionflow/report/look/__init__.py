"""Look inside: what a model does with a picture, gathered once, as data and as one page."""

from visionflow.report.look.gathering import look
from visionflow.report.look.report import SCHEMA, LookReport

__all__ = ["SCHEMA", "LookReport", "look"]
