"""Where the CPU would wait for a GPU, found on a CPU."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

WAITING = {"cpu", "item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "masked_select",
           "nonzero", "unique", "ctc_loss"}  # fmt: skip


class Waits(TorchFunctionMode):
    """
    Collect in `found` the calls that would wait, if all tensors were on a GPU.

    Results of `.cpu()`, and what is computed from them alone, count as tensors of the CPU. To move one to a device
    waits too. So does `ctc_loss`, for its lengths.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._on_cpu: list[torch.Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        on_cpu = bool(given) and all(any(one is other for other in self._on_cpu) for one in given)
        name = func.__name__
        moves = name == "to" and set(kwargs or {}) != {"dtype"}
        if moves if on_cpu else name in WAITING:
            self.found.append(name)
        if name == "cpu" or (on_cpu and not moves):
            self._on_cpu += [one for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        return result
