"""Libraries whose arrays lie on CUDA devices: how each allocates, copies, and names its stream.

None is imported: whoever has an array of it has done so.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from qpcore.errors import ProblemError


class Torch:
    """PyTorch. Its allocator knows of streams and captured graphs, so all memory comes from it."""

    def __init__(self, like: Any) -> None:
        self.like, self.module = like, sys.modules["torch"]

    def device(self, array: Any) -> int:
        """Number of the device that an array lies on."""
        return array.device.index or 0

    def stream(self) -> int:
        """Handle of the caller's stream."""
        return self.module.cuda.current_stream(self.like.device).cuda_stream

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of the caller's device, in the order of the caller's stream."""
        return self.like.new_empty(shape, dtype=getattr(self.module, np.dtype(dtype).name))

    def contiguous(self, array: Any) -> Any:
        """The same numbers, row by row; a copy only where they are not."""
        return array.detach().contiguous()

    def to_host(self, array: Any) -> np.ndarray:
        """A copy for NumPy; waits for the stream."""
        return array.detach().cpu().numpy()


class CuPy:
    """CuPy."""

    def __init__(self, like: Any) -> None:
        self.like, self.module = like, sys.modules["cupy"]

    def device(self, array: Any) -> int:
        """Number of the device that an array lies on."""
        return array.device.id

    def stream(self) -> int:
        """Handle of the caller's stream."""
        return self.module.cuda.get_current_stream().ptr

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of the current device."""
        return self.module.empty(shape, dtype)

    def contiguous(self, array: Any) -> Any:
        """The same numbers, row by row."""
        return self.module.ascontiguousarray(array)

    def to_host(self, array: Any) -> np.ndarray:
        """A copy for NumPy."""
        return array.get()


class Numba:
    """Numba's own device arrays; they have no arithmetic, so no gradients either."""

    def __init__(self, like: Any) -> None:
        self.like, self.module = like, sys.modules["numba"]

    def device(self, array: Any) -> int:
        """Number of the current device; Numba's arrays do not say theirs."""
        return getattr(self.module.cuda.current_context().device, "id", 0)

    def stream(self) -> int:
        """The default stream."""
        return 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of the current device."""
        return self.module.cuda.device_array(shape, np.dtype(dtype))

    def contiguous(self, array: Any) -> Any:
        """The array, which must be contiguous."""
        if not array.is_c_contiguous():
            raise ProblemError("A Numba device array is not contiguous; expected rows one by one.")
        return array

    def to_host(self, array: Any) -> np.ndarray:
        """A copy for NumPy."""
        return array.copy_to_host()


LIBRARIES = {"torch": Torch, "cupy": CuPy, "numba": Numba}


def library_of(array: Any) -> Torch | CuPy | Numba:
    """The library of a CUDA array.

    Raises
    ------
    ProblemError
        It is another one than these.
    """
    name = type(array).__module__.partition(".")[0].replace("numba_cuda", "numba")
    if name not in LIBRARIES:
        raise ProblemError(
            f"CUDA arrays of {name} are not known; expected those of {', '.join(LIBRARIES)}. Most "
            "libraries convert without a copy: torch.from_dlpack(array)."
        )
    return LIBRARIES[name](array)
