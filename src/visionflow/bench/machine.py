"""The machine in words, and how much memory it has left: no figure of speed means anything without it."""

import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from visionflow import __version__


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What ran the measurement, for JSON and for people."""
    machine: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "device_memory_bytes": torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "visionflow": __version__,
    }
    return {"words": _words(machine)} | machine


def _words(machine: dict[str, Any]) -> str:
    """One line: ``cpu: Intel Xeon, 2 cores, 2 threads, 23 GiB; torch 2.13.0, transformers 5.23.0``."""
    memory = machine["device_memory_bytes"] or machine["memory_bytes"]
    size = f", {memory / 2**30:.0f} GiB"
    return (
        f"{machine['device']}{size if machine['device'] != 'cpu' else ''}: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads{size if machine['device'] == 'cpu' else ''}; "
        f"torch {machine['torch']}, transformers {machine['transformers']}"
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`; those of the system where the device has none of its own."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    return int(psutil.virtual_memory().available)


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
