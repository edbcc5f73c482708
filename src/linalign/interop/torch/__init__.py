"""PyTorch: modules to networks and back, trained in between, and the product of a chain of weights as an autograd function.

>>> import torch
>>> from linalign.interop.torch import from_torch, train_torch
>>> module = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.Linear(8, 2))
>>> from_torch(module)
Network(4-8-2, float32)
"""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("linalign.interop.torch needs PyTorch; install it with: pip install 'linalign[torch]'") from None

from .autograd import chain
from .modules import from_torch, to_torch, train_torch, update_torch_
from .structure import Structure

__all__ = ["Structure", "chain", "from_torch", "to_torch", "train_torch", "update_torch_"]
