"""Build the network that a submission described, and nothing else: no code of a submission runs here.

What comes from a submission may be made up. Then it describes a network all the same, and what is measured is that network's:
whoever makes up a good one has solved the task. Layers and functions are those of the lists below, and sizes are bounded before
anything is computed.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.errors import CourseError
from autograder.student.network import SEED

LAYERS = (
    "Linear", "Identity", "Dropout", "AlphaDropout", "Flatten", "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU",
    "GELU", "SiLU", "Mish", "Hardswish", "Softplus", "Softsign", "Tanh", "Hardtanh", "Tanhshrink", "Softshrink", "Hardshrink",
    "Threshold", "Sigmoid", "Hardsigmoid", "LogSigmoid", "Softmax", "LogSoftmax", "Softmin", "LayerNorm", "RMSNorm", "GroupNorm",
    "BatchNorm1d", "InstanceNorm1d",
)  # fmt: skip
#: Functions and methods by name, in place too (`relu_`): all give a result as large as the larger of their arguments, or as large as
#: those that they stack.
FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "softsign",
    "tanh", "hardtanh", "tanhshrink", "softshrink", "hardshrink", "threshold", "sigmoid", "hardsigmoid", "logsigmoid", "softmax",
    "log_softmax", "softmin", "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "normalize", "dropout",
    "alpha_dropout", "linear", "add", "sub", "subtract", "mul", "multiply", "div", "divide", "neg", "negative", "pow", "exp", "expm1",
    "log", "log1p", "sqrt", "rsqrt", "square", "abs", "absolute", "sign", "erf", "maximum", "minimum", "max", "min", "clamp",
    "clamp_min", "clamp_max", "clip", "where", "masked_fill", "gt", "ge", "lt", "le", "zeros_like", "ones_like", "sin", "cos", "asinh",
    "arcsinh", "atan", "arctan", "logaddexp", "sum", "mean", "var", "std", "amax", "amin", "norm", "stack", "flatten", "view",
    "reshape", "squeeze", "unsqueeze", "float", "double", "contiguous", "clone",
)  # fmt: skip
#: What a function calls itself → its name above.
OTHER_NAMES = {
    "truediv": "div", "_threshold": "threshold", "log_sigmoid": "logsigmoid", "special_expit": "sigmoid", "special_erf": "erf",
    "linalg_norm": "norm", "linalg_vector_norm": "norm",
}  # fmt: skip
ELSE = "Build it from layers of torch.nn and activation functions."
MOST_STEPS, MOST_WEIGHTS, MOST_NUMBERS, MOST_DIMENSIONS = 400, 1_000_000, 300_000, 8
#: Numbers that all results of one pass hold together, and products of one step.
MOST_KEPT, MOST_PRODUCTS = 8_000_000, 40_000_000
#: How long one network may be computed with, from when it was built.
MOST_SECONDS = 5.0
DTYPES = ("float32", "float64", "int64", "bool")


class NetworkError(CourseError):
    """What a submission gave back describes no network that can be built. The text is for the learner."""


class Step(NamedTuple):
    """One step of a network: `name` stands for its result, `target` for the layer or function; arguments are packed as they travelled.

    `writes` tells whether it may change what it is given.
    """

    name: str
    kind: str
    target: str
    args: list[Any]
    kwargs: dict[str, Any]
    writes: bool = False

    def nodes(self) -> list[str]:
        """The names of the results that it works on."""
        return [name for part in (*self.args, *self.kwargs.values()) for name in _nodes(part)]


class Rebuilt(nn.Module):
    """A network that is carried out step by step.

    Parameters
    ----------
    description : what `autograder.student.network.describe` gives back, after its way through the wire

    Attributes
    ----------
    steps : those that the output depends on, in order; the last one is the output
    layers : every layer, once
    fixed : names of the results that no number of the input changes: constants
    seen : those results, as they were for the input of `rebuild`

    Raises
    ------
    NetworkError : for anything else, for unknown layers and functions, and beyond the limits
    """

    def __init__(self, description: Any) -> None:
        super().__init__()
        if isinstance(description, Mapping) and "problem" in description:
            raise NetworkError(str(description["problem"])[:500])
        try:
            layers = {str(target): _layer(*layer) for target, layer in description["layers"].items()}
            steps = [_step(layers, *step) for step in description["steps"]]
            self.values = {str(target): _tensor(value) for target, value in description["values"].items()}
            self.steps = _needed(steps)
            self.fixed = _fixed(self.steps)
        except NetworkError:
            raise
        except Exception:
            raise NetworkError("The result is not the description of a network.") from None
        if len(self.steps) > MOST_STEPS or sum(p.numel() for m in layers.values() for p in m.parameters()) > MOST_WEIGHTS:
            raise NetworkError(f"The network has more than {MOST_STEPS} steps or more than {MOST_WEIGHTS} weights.")
        self.end = time.monotonic() + MOST_SECONDS
        self.seen: dict[str, Any] = {}
        self.by_target = layers
        self.layers = nn.ModuleList(layers.values())  # a name could hide a method

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output for `x`, as the described network computes it.

        Raises
        ------
        NetworkError : a step fails
        """
        return self.carry_out(self.steps, x, {})[self.steps[-1].name]

    def carry_out(self, steps: Iterable[Step], x: torch.Tensor, seen: dict[str, Any]) -> dict[str, Any]:
        """Carry out some of the steps on the input `x` and on the results `seen` by name; theirs are added to `seen`, which is given back.

        Raises
        ------
        NetworkError : a step fails
        """
        room = MOST_KEPT
        for step in steps:
            if time.monotonic() > self.end:
                raise NetworkError(f"What the network computes takes more than {MOST_SECONDS:g} seconds.")
            try:
                given = [_found(a, seen) for a in step.args]
                named = {k: _found(v, seen) for k, v in step.kwargs.items()}
                found = seen[step.name] = self._do(step, given, named, x)
                room -= found.numel() if isinstance(found, torch.Tensor) else 0
            except NetworkError:
                raise
            except Exception as error:
                raise NetworkError(f"The network fails at {step.target[:60]}: {type(error).__name__}: {str(error)[:200]}") from None
            if room < 0:
                raise NetworkError(f"The results of all steps of the network hold more than {MOST_KEPT} numbers together.")
        return seen

    def layer_of(self, step: Step) -> nn.Module | None:
        """The layer that a step uses; None if it uses none."""
        return self.by_target[step.target] if step.kind == "call_module" else None

    def _do(self, step: Step, given: list[Any], named: dict[str, Any], x: torch.Tensor) -> Any:
        if step.kind == "placeholder":
            return x.clone()  # a layer may work in place
        if step.kind == "get_attr":
            return self.values[step.target].clone()
        if step.kind == "output":
            return given[0]
        layer = self.layer_of(step)
        weights = [layer.weight] if isinstance(layer, nn.Linear) else []
        _bound([*given, *named.values(), *weights], step.target == "linear" or layer is not None)
        return layer(*given, **named) if layer is not None else _function(step.kind, step.target)(*given, **named)


def rebuild(description: Any, x: torch.Tensor, training: bool = True) -> Rebuilt:
    """The network of a description, for inputs of the size of `x`. Seeds torch: what is drawn in it falls alike every time.

    Parameters
    ----------
    description : what `describe(net, x, training)` gave back
    x : the same input
    training : the same mode

    Raises
    ------
    NetworkError : what `Rebuilt` refuses, and a network that gave something else for `x` when it was called
    """
    net = Rebuilt(description).train(training)
    if isinstance(description.get("output"), str):
        raise NetworkError(f"Called, the network gives back a {description['output'][:60]}, not a tensor.")
    told = _tensor(description.get("output"))
    torch.default_generator.manual_seed(SEED)
    with torch.no_grad():
        seen = net.carry_out(net.steps, x, {})
    own = seen[net.steps[-1].name]
    if not isinstance(own, torch.Tensor) or not _agree(told, own):
        raise NetworkError("Called on the same input, your network gives something else than its layers do. Let forward do all of it.")
    net.seen = {name: seen[name] for name in net.fixed}
    return net


def _agree(told: torch.Tensor, own: torch.Tensor) -> bool:
    if told.shape != own.shape or not torch.equal(told.isfinite(), own.isfinite()):
        return False
    told, own = (t[own.isfinite()].double() for t in (told, own))
    return not own.numel() or bool((told - own).abs().max() <= 1e-2 * own.abs().max())


def _step(layers: Mapping[str, nn.Module], name: Any, kind: Any, target: Any, args: Any, kwargs: Any) -> Step:
    if kind not in ("placeholder", "get_attr", "call_module", "call_function", "call_method", "output"):
        raise NetworkError("The result is not the description of a network.")
    if kind in ("call_function", "call_method"):
        _function(kind, target)
    if kwargs.get("out", ["is", None])[-1] is not None:
        raise NetworkError(f"The network uses out= in {str(target)[:60]}. {ELSE}")
    step = Step(str(name), kind, str(target), list(args[1:]), dict(kwargs))
    return step._replace(writes=_writes(step, layers))


def _writes(step: Step, layers: Mapping[str, nn.Module]) -> bool:
    """Whether a step may change what it is given: `relu_`, `inplace=True`, running statistics in training."""
    if step.kind == "call_module":
        return bool(getattr(layers[step.target], "inplace", False))
    told = [step.kwargs.get(name, ["is", None])[-1] for name in ("inplace", "training")]
    return step.target.endswith("_") or any(told) or any(part[-1] is True for part in step.args)


def _needed(steps: list[Step]) -> list[Step]:
    """The steps up to the output, without those whose result nothing depends on."""
    known: set[str] = set()
    for step in steps:
        if step.name in known or not known.issuperset(step.nodes()):
            raise NetworkError("The result is not the description of a network.")
        known.add(step.name)
    end = next((i for i, step in enumerate(steps) if step.kind == "output"), None)
    if end is None:
        raise NetworkError("The network gives nothing back.")
    kept, wanted = [], {steps[end].name}
    for step in reversed(steps[: end + 1]):
        if step.name in wanted or step.writes:
            kept.append(step)
            wanted.update(step.nodes())
    return kept[::-1]


def _fixed(steps: list[Step]) -> set[str]:
    fixed: set[str] = set()
    for step in steps:
        if fixed.issuperset(step.nodes()) and step.kind != "placeholder":
            fixed.add(step.name)
    return fixed


def _function(kind: str, name: str) -> Callable[..., Any]:
    own = OTHER_NAMES.get(name, name)
    if own in OWN:
        return OWN[own]
    places = [torch.Tensor] if kind == "call_method" else [F, torch]
    found = [getattr(place, own) for place in places if own.rstrip("_") in FUNCTIONS and hasattr(place, own)]
    if not found:
        raise NetworkError(f"The network uses {name[:60]}. {ELSE}")
    return found[0]


def _part(whole: Any, index: Any) -> Any:
    if not isinstance(whole, tuple) or not isinstance(index, int):
        raise NetworkError(f"The network takes parts of a tensor with [ ]. {ELSE}")
    return whole[index]


def _norm(input: torch.Tensor, p: float | str | None = 2, dim: Any = None, keepdim: bool = False, ord: float | None = None) -> torch.Tensor:
    """Of vectors alone: other norms of matrices decompose them, which takes long."""
    return torch.linalg.vector_norm(input, (2 if p in (None, "fro") else p) if ord is None else ord, dim, keepdim)


#: What is not torch's own.
OWN: dict[str, Callable[..., Any]] = {"[ ]": _part, "norm": _norm}


def _layer(kind: Any, attributes: Mapping[str, Any], state: Mapping[str, Any]) -> nn.Module:
    if kind not in LAYERS:
        raise NetworkError(f"The network holds a {str(kind)[:60]}. Build it from nn.Linear, activations and normalization layers.")
    layer = getattr(nn, kind).__new__(getattr(nn, kind))
    nn.Module.__init__(layer)
    vars(layer).update({k: v for k, v in attributes.items() if not k.startswith("_") and not hasattr(layer, k)})
    for name in ("weight", "bias"):
        layer.register_parameter(name, nn.Parameter(_tensor(state[name])) if name in state else None)
    for name in ("running_mean", "running_var", "num_batches_tracked") if "Norm" in kind else ():
        layer.register_buffer(name, _tensor(state[name]) if name in state else None)
    return layer


def _tensor(array: Any) -> torch.Tensor:
    if not isinstance(array, np.ndarray) or array.size > MOST_NUMBERS or array.dtype.name not in DTYPES:
        raise NetworkError(f"A tensor of the network is none of {', '.join(DTYPES)}, or has more than {MOST_NUMBERS} numbers.")
    return torch.from_numpy(np.array(array))


def _nodes(packed: Any) -> list[str]:
    kind = packed[0]
    if kind == "node":
        return [packed[1]]
    return [name for part in packed[1:] for name in _nodes(part)] if kind in ("list", "tuple") else []


def _found(packed: Any, seen: Mapping[str, Any]) -> Any:
    kind = packed[0]
    if kind == "node":
        return seen[packed[1]]
    if kind in ("list", "tuple"):
        return tuple(_found(part, seen) for part in packed[1:])
    return _tensor(packed[1]) if isinstance(packed[1], np.ndarray) else packed[1]


def _bound(arguments: list[Any], is_linear: bool) -> None:
    """Refuse what would grow without bound: two thin tensors have a broad sum, and a row times a column is a square."""
    stacked = sum(part.numel() for a in arguments if isinstance(a, tuple) for part in a if isinstance(part, torch.Tensor))
    shapes = [a.shape for a in arguments if isinstance(a, torch.Tensor)]
    dimensions = max(map(len, shapes), default=0)
    if len(shapes) == 1:
        numbers = shapes[0].numel()
    elif is_linear and shapes:
        numbers = math.prod(shapes[0][:-1]) * shapes[1][0]
        if numbers * shapes[1][-1] > MOST_PRODUCTS:
            raise NetworkError(f"A step of the network would take more than {MOST_PRODUCTS} products.")
    else:
        numbers = math.prod(max(s[-i - 1] for s in shapes if len(s) > i) for i in range(dimensions))
    if max(numbers, stacked) > MOST_NUMBERS or dimensions > MOST_DIMENSIONS:
        raise NetworkError(
            f"A step of the network would compute more than {MOST_NUMBERS} numbers, or in more than {MOST_DIMENSIONS} dimensions."
        )
