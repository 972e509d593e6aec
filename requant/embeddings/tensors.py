"""torch tensors in and out, without importing torch for anybody who has none."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import refuse_masked


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor.

    >>> is_tensor([1.0])
    False
    """
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(value: Any) -> Any:
    """Return a tensor as a NumPy array, bfloat16 as float32; anything else as it is.

    A tensor on another device is copied from there; one that needs gradients is detached.
    """
    if not is_tensor(value):
        return value
    tensor = value.detach()
    if str(tensor.dtype) == "torch.bfloat16":  # which NumPy lacks
        tensor = tensor.float()
    return tensor.cpu().numpy()


def like(array: NDArray[Any], *inputs: object) -> Any:
    """Return `array` as a tensor on the first input's device if any input is one."""
    for value in inputs:
        if is_tensor(value):
            return sys.modules["torch"].from_numpy(array).to(value.device)  # type: ignore[attr-defined]
    return array


def as_array(value: Any) -> NDArray[Any]:
    """Return a tensor, a list of tensors, or anything array-like as a NumPy array."""
    refuse_masked(value, "embeddings")
    if isinstance(value, (list, tuple)) and value and is_tensor(value[0]):
        return np.stack([to_numpy(row) for row in value])
    return np.asarray(to_numpy(value))
