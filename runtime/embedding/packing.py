"""Linear layers whose weights are laid out once as oneDNN multiplies them; torch by itself does it again for each pass.

On an AVX512-BF16 core a layer of the built-in model makes 203 GFLOP/s in bf16 so, and 146 to 194 otherwise; in fp32
about 100 instead of 86. The activation behind the layer is part of the same call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import torch

from runtime.embedding.shapes import rounded

log = logging.getLogger("tundish.models")

_ROWS = 1024  # of a usual pass: the layout may depend on it
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}


class PackedLinear(torch.nn.Module):
    """Stands for a `torch.nn.Linear`, and for an exact GELU behind it where `gelu`. It cannot be trained or saved."""

    def __init__(self, linear: torch.nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self._call = torch.ops.mkldnn._linear_pointwise
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._after = ("gelu", "none") if gelu else ("none", "")
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        name, algorithm = self._after
        count = given.numel() // self.in_features
        if (more := rounded(count) - count) == 0:
            return cast("torch.Tensor", self._call(given, self._packed, self._bias, name, [], algorithm))
        rows = torch.nn.functional.pad(given.reshape(count, self.in_features), (0, 0, 0, more))
        found: torch.Tensor = self._call(rows, self._packed, self._bias, name, [], algorithm)
        return found[:count].view(*given.shape[:-1], self.out_features)


def pack(model: torch.nn.Module, same: Callable[[], bool]) -> bool:
    """Replace every linear layer inside `model`. False, and nothing is changed, where this torch or CPU cannot, or
    where the model is not the `same` by then: some look into their layers, or call them in a way of their own."""
    layers = [found for found in model.modules() if type(found) is torch.nn.Linear]
    try:
        with torch.inference_mode():
            known = {id(layer): _checked(layer) for layer in layers}
            fused = {id(layer): PackedLinear(layer, gelu=True) for layer in _before_gelu(model)}
    except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        log.info("linear layers are not packed: %s", str(error).partition("\n")[0])
        return False
    before: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []

    def put(parent: torch.nn.Module, name: str, child: torch.nn.Module) -> None:
        before.append((parent, name, getattr(parent, name)))
        setattr(parent, name, child)

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in fused:
                put(parent, name, fused[id(child)])
                put(parent, "intermediate_act_fn", torch.nn.Identity())
            elif id(child) in known:
                put(parent, name, known[id(child)])
    try:
        if same():
            return True
        log.info("linear layers are not packed: the model gives other vectors with them")
    except Exception as error:  # noqa: BLE001 - a model's own code, which finds other layers than it knows
        log.info("linear layers are not packed: %s", str(error).partition("\n")[0])
    for parent, name, child in reversed(before):
        setattr(parent, name, child)
    return False


def _checked(layer: torch.nn.Linear) -> PackedLinear:
    """Raises ValueError where it gives something else than the layer itself."""
    packed = PackedLinear(layer)
    given = torch.linspace(-1, 1, 3 * layer.in_features, dtype=layer.weight.dtype).reshape(3, layer.in_features)
    difference = float((packed(given) - layer(given)).abs().max())
    if not difference <= _TOLERANCE[layer.weight.dtype]:
        raise ValueError(f"a packed layer differs by {difference:g}")
    return packed


def _before_gelu(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The layers that a BERT has before its exact GELU."""
    found = []
    for parent in model.modules():
        dense, after = getattr(parent, "dense", None), getattr(parent, "intermediate_act_fn", None)
        if type(dense) is torch.nn.Linear and _is_gelu(after):
            found.append(dense)
    return found


def _is_gelu(activation: Any) -> bool:
    """Whether it is the exact GELU, whatever the object that computes it."""
    if not isinstance(activation, torch.nn.Module):
        return False
    given = torch.linspace(-3, 3, 13)
    return bool(torch.allclose(activation(given), torch.nn.functional.gelu(given), atol=1e-6))
