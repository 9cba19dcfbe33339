"""QPs as differentiable PyTorch functions and layers, on top of qpcore."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "torch_bridge needs PyTorch, which is not installed: pip install qpcore[torch]"
    ) from error

import torch_bridge.dispatch  # noqa: F401  rules of the operators
from torch_bridge.function import GradInfo, QPResult, solve_qp
from torch_bridge.layer import OptNetLayer, QPLayer

__all__ = ["GradInfo", "OptNetLayer", "QPLayer", "QPResult", "solve_qp"]
