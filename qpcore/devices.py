"""Where arrays lie, and what keeps qpcore from using a GPU here. Imports no CUDA by itself.

Others call these functions through the module, `devices.gpu_driver()`: one place for tests to put
a simulated device.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from qpcore.errors import DeviceError

CUDA = 2  # kDLCUDA of the DLPack standard


def is_on_gpu(value: Any) -> bool:
    """Whether a value is an array in the memory of a CUDA device; torch, CuPy and Numba have them.

    DLPack comes first: a tensor that requires a gradient refuses the CUDA array interface.
    """
    kind = type(value)
    if kind is np.ndarray or value is None:
        return False
    if hasattr(kind, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) == CUDA
    return hasattr(kind, "__cuda_array_interface__") or getattr(kind, "__cuda_ndarray__", False)


@lru_cache(maxsize=1)
def obstacle() -> str | None:
    """Say what is missing for CUDA and what to install; None if nothing is."""
    if find_spec("numba_cuda") is None:
        return (
            "CUDA needs numba-cuda, which is not installed: pip install 'qpcore[cuda]' brings a "
            "set for drivers of CUDA 13."
        )
    cuda = importlib.import_module("numba.cuda")
    if cuda.is_available():
        return None
    driver = importlib.import_module("numba.cuda.cudadrv.driver").driver
    error = getattr(driver, "initialization_error", None)
    if error is None:
        return (
            "numba-cuda sees no CUDA device: `nvidia-smi` should list one, and "
            "CUDA_VISIBLE_DEVICES must not hide it."
        )
    return (
        "numba-cuda cannot start the CUDA driver: install NVIDIA's driver, 580 or newer for "
        "qpcore[cuda], on a machine with a GPU; in a container, pass the GPU through (--gpus all). "
        f"It says: {' '.join(str(error).split())}"
    )


def gpu_driver() -> Any:
    """The GPU driver, imported when it is first asked for.

    Raises
    ------
    DeviceError
        The CUDA extra, a driver or a GPU is missing.
    """
    missing = obstacle()
    if missing:
        raise DeviceError(missing)
    return importlib.import_module("qpcore.gpu")
