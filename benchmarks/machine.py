"""What figures were measured on, and when."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from benchmarks.interface import cpus
from benchmarks.remote import WAIT, wait_policy


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.exists() else []
    names = [row.split(":", 1)[1].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict:
    """What the seconds were measured on."""
    return {
        "cpu": processor(),
        "cores": cpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        WAIT: wait_policy(),
    }


def load() -> float | None:
    """Processes at work on this machine, averaged over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def now() -> str:
    """Date and time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
