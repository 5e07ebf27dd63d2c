"""Schedules and settings found on a model's own prompts: users of methods and engines, which know nothing of them."""

from visionflow.tuning.tuner import Tuned, tune

__all__ = ["Tuned", "tune"]
