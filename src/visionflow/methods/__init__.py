"""One file per method."""

from visionflow.methods.base import Method
from visionflow.methods.fastv import FastV
from visionflow.methods.himap import HiMAP
from visionflow.methods.random import RandomPruning
from visionflow.methods.visipruner import VisiPruner
from visionflow.methods.vtw import VTW

METHODS: dict[str, type[Method]] = {method.name: method for method in (HiMAP, FastV, VTW, VisiPruner, RandomPruning)}

__all__ = ["METHODS", "VTW", "FastV", "HiMAP", "Method", "RandomPruning", "VisiPruner"]
