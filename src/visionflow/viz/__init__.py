"""Pictures of what was kept."""

from visionflow.viz.framing import Box, Framing, framing_of
from visionflow.viz.kept import Scene, scene_or_reason
from visionflow.viz.overlay import Panel, draw_overlay
from visionflow.viz.patches import patches_kept

__all__ = ["Box", "Framing", "Panel", "Scene", "draw_overlay", "framing_of", "patches_kept", "scene_or_reason"]
