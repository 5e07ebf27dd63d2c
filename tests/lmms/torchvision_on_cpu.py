"""For the tests' environment only: torchvision built for CUDA, beside a torch that is built for the CPU, imports.

Its compiled operators do not load there, and it registers fake versions of two of them at import. lmms-eval imports
torchvision and uses neither.
"""

import sys
from importlib.abc import MetaPathFinder

_libraries = []  # what they define lives as long as they do


class _BeforeTorchvision(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                library = torch.library.Library("torchvision", "DEF")
                library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                _libraries.append(library)


sys.meta_path.insert(0, _BeforeTorchvision())
