"""Plots, and pictures of what was kept."""

from visionflow.report.figures.framing import Box, Framing, framing_of
from visionflow.report.figures.kept import Scene, scene_or_reason
from visionflow.report.figures.overlay import Panel, draw_overlay
from visionflow.report.figures.patches import patches_kept

__all__ = ["Box", "Framing", "Panel", "Scene", "draw_overlay", "framing_of", "patches_kept", "scene_or_reason"]
