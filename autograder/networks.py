"""Build the network that a submission described, and nothing else: no code of a submission runs here.

What comes from a submission may be made up. Then it describes a network all the same, and what is measured is that network's:
whoever makes up a good one has solved the task. Layers and functions are those of the lists below, and sizes are bounded before
anything is computed.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.errors import CourseError

LAYERS = (
    "Linear", "Identity", "Dropout", "AlphaDropout", "Flatten", "ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU",
    "SiLU", "Mish", "Hardswish", "Softplus", "Softsign", "Tanh", "Hardtanh", "Tanhshrink", "Sigmoid", "Hardsigmoid", "LogSigmoid",
    "Softmax", "LogSoftmax", "Softmin", "LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm1d", "InstanceNorm1d",
)  # fmt: skip
#: Functions and methods by name: all give a result as large as the larger of their arguments.
FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "softsign", "tanh",
    "hardtanh", "sigmoid", "logsigmoid", "softmax", "log_softmax", "layer_norm", "rms_norm", "batch_norm", "group_norm", "dropout",
    "linear", "add", "sub", "mul", "truediv", "div", "neg", "pow", "exp", "log", "sqrt", "rsqrt", "square", "abs", "erf", "maximum",
    "minimum", "max", "min", "clamp", "where", "gt", "ge", "lt", "le", "zeros_like", "ones_like", "sin", "cos", "mean", "var", "std",
    "flatten", "float", "contiguous",
)  # fmt: skip
MOST_STEPS, MOST_WEIGHTS, MOST_NUMBERS = 400, 1_000_000, 300_000
#: How long one network may be computed with, from when it was built.
MOST_SECONDS = 10.0


class NetworkError(CourseError):
    """What a submission gave back describes no network that can be built. The text is for the learner."""


class Rebuilt(nn.Module):
    """A network that is carried out step by step.

    Parameters
    ----------
    description : what `autograder.student.network.describe` gives back, after its way through the wire

    Raises
    ------
    NetworkError : for anything else, for unknown layers and functions, and beyond the limits
    """

    def __init__(self, description: Any) -> None:
        super().__init__()
        if isinstance(description, Mapping) and "problem" in description:
            raise NetworkError(str(description["problem"])[:500])
        try:
            self.steps = [_step(*step) for step in description["steps"]]
            layers = {str(target): _layer(*layer) for target, layer in description["layers"].items()}
            self.values = {str(target): _tensor(value) for target, value in description["values"].items()}
        except NetworkError:
            raise
        except Exception:
            raise NetworkError("The result is not the description of a network.") from None
        if len(self.steps) > MOST_STEPS or sum(p.numel() for m in layers.values() for p in m.parameters()) > MOST_WEIGHTS:
            raise NetworkError(f"The network has more than {MOST_STEPS} steps or more than {MOST_WEIGHTS} weights.")
        self.end = time.monotonic() + MOST_SECONDS
        self.at = {target: number for number, target in enumerate(layers)}
        self.layers = nn.ModuleList(layers.values())  # a name could hide a method

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output for `x`, as the described network computes it.

        Raises
        ------
        NetworkError : a step fails
        """
        seen: dict[str, Any] = {}
        if time.monotonic() > self.end:
            raise NetworkError(f"What the network computes takes more than {MOST_SECONDS:g} seconds.")
        for name, kind, target, args, kwargs in self.steps:
            try:
                given = [_found(a, seen) for a in args]
                named = {k: _found(v, seen) for k, v in kwargs.items()}
                if kind == "output":
                    return given[0]
                seen[name] = self._do(kind, target, given, named, x)
            except NetworkError:
                raise
            except Exception as error:
                raise NetworkError(f"The network fails at {target}: {type(error).__name__}: {str(error)[:200]}") from None
        raise NetworkError("The network gives nothing back.")

    def _do(self, kind: str, target: str, given: list[Any], named: dict[str, Any], x: torch.Tensor) -> Any:
        if kind == "placeholder":
            return x.clone()  # a layer may work in place
        if kind == "get_attr":
            return self.values[target]
        layer = self.layers[self.at[target]] if kind == "call_module" else None
        _bound(
            [*given, *named.values(), *([layer.weight] if isinstance(layer, nn.Linear) else [])], target == "linear" or layer is not None
        )
        return layer(*given, **named) if layer is not None else _function(kind, target)(*given, **named)


def rebuild(description: Any) -> Rebuilt:
    """The network of a description, in training mode. See `Rebuilt`."""
    return Rebuilt(description).train()


def _step(name: Any, kind: Any, target: Any, args: Any, kwargs: Any) -> tuple[str, str, str, list[Any], dict[str, Any]]:
    if kind not in ("placeholder", "get_attr", "call_module", "call_function", "call_method", "output"):
        raise NetworkError("The result is not the description of a network.")
    if kind in ("call_function", "call_method"):
        _function(kind, target)
    return str(name), kind, str(target), list(args[1:]), dict(kwargs)


def _function(kind: str, name: str) -> Callable[..., Any]:
    plain = {"truediv": "div"}.get(name.rstrip("_"), name.rstrip("_"))
    places = [torch.Tensor] if kind == "call_method" else [F, torch]
    found = [getattr(place, plain) for place in places if plain in FUNCTIONS and hasattr(place, plain)]
    if not found:
        raise NetworkError(f"The network uses {name[:60]}. Build it from layers of torch.nn, activation functions and sums.")
    return found[0]


def _layer(kind: Any, attributes: Mapping[str, Any], state: Mapping[str, Any]) -> nn.Module:
    if kind not in LAYERS:
        raise NetworkError(f"The network holds a {str(kind)[:60]}. Build it from nn.Linear, activations and normalization layers.")
    layer = getattr(nn, kind).__new__(getattr(nn, kind))
    nn.Module.__init__(layer)
    vars(layer).update({k: v for k, v in attributes.items() if not k.startswith("_") and not hasattr(layer, k)})
    for name in ("weight", "bias"):
        layer.register_parameter(name, nn.Parameter(_tensor(state[name])) if name in state else None)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        layer.register_buffer(name, _tensor(state[name]) if name in state else None)
    return layer


def _tensor(array: Any) -> torch.Tensor:
    if not isinstance(array, np.ndarray) or array.size > MOST_NUMBERS:
        raise NetworkError(f"A tensor of the network is no tensor, or has more than {MOST_NUMBERS} numbers.")
    return torch.from_numpy(np.array(array))


def _found(packed: Any, seen: Mapping[str, Any]) -> Any:
    kind, *rest = packed
    if kind == "node":
        return seen[rest[0]]
    if kind in ("list", "tuple"):
        return tuple(_found(part, seen) for part in rest)
    return _tensor(rest[0]) if isinstance(rest[0], np.ndarray) else rest[0]


def _bound(arguments: list[Any], is_linear: bool) -> None:
    """Refuse what would grow without bound: two thin tensors have a broad sum, and a row times a column is a square."""
    shapes = [a.shape for a in arguments if isinstance(a, torch.Tensor)]
    if is_linear and len(shapes) > 1:
        numbers = math.prod(shapes[0][:-1]) * shapes[1][0]
    else:
        numbers = math.prod(max(s[-i - 1] for s in shapes if len(s) > i) for i in range(max(map(len, shapes), default=0)))
    if numbers > MOST_NUMBERS:
        raise NetworkError(f"A step of the network would compute more than {MOST_NUMBERS} numbers.")
