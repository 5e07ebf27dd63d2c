"""The old address of `visionflow.tuning.thresholds`."""

from visionflow.tuning.thresholds import calibrate

__all__ = ["calibrate"]
