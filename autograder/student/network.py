"""A network as plain data: its layers, their parameters, and the order in which they are used.

Probes return it, so that the judge builds the same network (`autograder.networks`) and measures for itself.
"""

import itertools
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

#: With this seed a described network is called, here and where it is built again: dropout then falls alike.
SEED = 0
_PLAIN = (type(None), bool, int, float, str)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_OF_WEIGHTS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class _Problem(Exception):
    """Why a network cannot be described, in a sentence for the learner."""


class _Sized(fx.Proxy):
    """Stands for a result while a network is followed. Its size, type and place are known, its numbers are not: `shape` is a plain one."""

    shape = property(lambda self: self._value.shape)
    ndim = property(lambda self: self._value.ndim)
    dtype = property(lambda self: self._value.dtype)
    device = property(lambda self: self._value.device)

    @property
    def _value(self) -> Any:
        return self.tracer.value(self.node)

    def size(self, dim: int | None = None) -> Any:
        return self._value.size(dim)

    def dim(self) -> int:
        return self._value.dim()

    def numel(self) -> int:
        return self._value.numel()

    def __len__(self) -> int:
        return len(self._value)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise _Problem("The network writes into parts of a tensor with [ ] =. Use a function that gives a new one, as torch.where.")


class _Tracer(fx.Tracer):
    """Walks through containers and a learner's own modules; layers of torch are the leaves. Where `forward` asks for a size, the steps
    up to there are carried out on `x`.
    """

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self._x, self._values, self._aside = x, {}, False

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The input alone stands for what is given: all other parameters of `forward` keep their defaults."""
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Sized(node, self)

    def value(self, node: fx.Node) -> Any:
        """What a step gives for `x`, in size, type and place: numbers may be changed in place later."""
        self._aside = True
        try:
            for one in self.graph.nodes:
                if node in self._values:
                    break
                if one not in self._values:
                    self._values[one] = self._carried_out(one)
        finally:
            self._aside = False
        return self._values[node]

    def _carried_out(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._values.__getitem__)
        if node.op == "placeholder":
            return self._x.clone()
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.root).detach().clone()
        if node.op == "call_function":
            return node.target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        layer = self.root.get_submodule(node.target)
        kept = [(b, b.clone()) for b in layer.buffers()]
        found = layer(*args, **kwargs)
        for buffer, before in kept:
            buffer.copy_(before)
        return found

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        walked_through = self._aside or type(m) is nn.Sequential  # a slice of one is new, but its layers are registered
        return forward(*args, **kwargs) if walked_through else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._aside else super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _kind(m) is not None

    def path_of_module(self, mod: nn.Module) -> str:
        try:
            return super().path_of_module(mod)
        except NameError:
            raise _Problem(
                f"The network uses a {type(mod).__name__} that is not registered in it: parameters() does not find it. "
                "Keep layers in nn.ModuleList, not in a Python list."
            ) from None


def describe(net: Any, x: torch.Tensor, training: bool = True) -> dict[str, Any]:
    """What `net` does to an input of the size of `x`, as plain data.

    Parameters
    ----------
    net : an `nn.Module` of layers of `torch.nn` and functions of torch, without branches on values
    x : an input that it is called on, shape (N, …). What `forward` asks about sizes is answered for it
    training : the mode that it is set to

    Returns
    -------
    {"steps": [[name, kind, target, args, kwargs]], "layers": {target: [class, attributes, state]}, "values": {target: tensor},
    "output": what the call gave, a tensor, or the name of another type}, or {"problem": one sentence} for what cannot be described
    """
    try:
        return _described(net, x, training)
    except _Problem as problem:
        return {"problem": str(problem)}
    except fx.proxy.TraceError:
        return {
            "problem": "The network could not be followed from input to output: forward decides something by what it is given "
            "(if, while, for, assert). Write it without branches on values."
        }
    except Exception as error:
        return {"problem": f"The network could not be followed from input to output: {type(error).__name__}: {str(error)[:300]}"}


def _described(net: Any, x: torch.Tensor, training: bool) -> dict[str, Any]:
    if not isinstance(net, nn.Module):
        raise _Problem(f"The function should return an nn.Module; it returned a {type(net).__name__}.")
    net.train(training)
    if any(map(is_lazy, itertools.chain(net.parameters(), net.buffers()))):
        _called(net, x)  # gives lazy layers their weights
    _refuse_detours(net)
    tracer = _Tracer(x)
    graph = _followed(tracer, net, x)
    layers = {n.target: net.get_submodule(n.target) for n in graph.nodes if n.op == "call_module"}
    _refuse_shared_weights(layers)
    _refuse_fixed_weights(net, layers)
    told = {
        "steps": [_step(n, tracer) for n in graph.nodes],
        "layers": {target: _layer(layer) for target, layer in layers.items()},
        "values": {n.target: _copied(operator.attrgetter(n.target)(net)) for n in graph.nodes if n.op == "get_attr"},
    }
    output = _called(net, x)
    _refuse_cut_gradients(graph, layers, output)
    return told | {"output": output.detach() if isinstance(output, torch.Tensor) else type(output).__name__}


def _followed(tracer: _Tracer, net: nn.Module, x: torch.Tensor) -> fx.Graph:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return tracer.trace(net)
    except _Problem:
        raise
    except Exception:
        _called(net, x)  # what fails when it is called too is told as that
        raise


def _called(net: nn.Module, x: torch.Tensor) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)
            return net(x.clone())
    except Exception as error:
        raise _Problem(
            f"Called on an input of shape {tuple(x.shape)}, the network fails: {type(error).__name__}: {str(error)[:300]}"
        ) from None


def _refuse_detours(net: nn.Module) -> None:
    """Refuse what a call does besides `forward`."""
    for name, module in net.named_modules():
        kind = type(module).__name__
        if any(getattr(module, hooks) for hooks in _HOOKS):
            raise _Problem(f"The {f'{kind} {name}'.strip()} has a hook. Leave hooks out: the layers say what is computed.")
        if type(module).__call__ is not nn.Module.__call__:
            raise _Problem(f"The class {kind} has a __call__ of its own. Write forward and leave calling it to nn.Module.")


def _refuse_shared_weights(layers: Mapping[str, nn.Module]) -> None:
    owners: list[tuple[int, int, str]] = []
    for target, layer in layers.items():
        for parameter in filter(torch.Tensor.numel, layer.parameters()):
            first, last = _room(parameter)
            owner = next((o for begin, end, o in owners if o != target and begin < last and first < end), None)
            if owner:
                raise _Problem(f"The layers {owner} and {target} share one parameter. Give each layer weights of its own.")
            owners.append((first, last, target))


def _room(tensor: torch.Tensor) -> tuple[int, int]:
    """Where in memory its numbers lie, from the first to the last."""
    numbers = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr(), tensor.data_ptr() + numbers * tensor.element_size()


def _refuse_fixed_weights(net: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Refuse weights that an optimizer could not change."""
    found = {id(p) for p in net.parameters()}
    for target, layer in layers.items():
        for name in _weights(layer):
            weight, what = getattr(layer, name), f"The {name} of {target}"
            if not isinstance(weight, nn.Parameter) or id(weight) not in found:
                raise _Problem(f"{what} is not among the network's parameters(): no optimizer changes it.")
            if not weight.requires_grad:
                raise _Problem(f"{what} is frozen: it has requires_grad=False.")
            if any(getattr(weight, hooks, None) for hooks in _HOOKS_OF_WEIGHTS):
                raise _Problem(f"{what} has a hook. Leave hooks out: the layers say what is computed.")


def _weights(layer: nn.Module) -> list[str]:
    """The names of a linear layer's weights."""
    return [name for name in ("weight", "bias") if getattr(layer, name, None) is not None] if isinstance(layer, nn.Linear) else []


def _refuse_cut_gradients(graph: fx.Graph, layers: Mapping[str, nn.Module], output: Any) -> None:
    """Refuse a network in which a linear layer that the output depends on gets no gradient."""
    used = [(target, layers[target].weight) for target in _needed(graph) if isinstance(layers.get(target), nn.Linear)]
    if not used or not isinstance(output, torch.Tensor) or not output.is_floating_point():
        return
    weights = [weight for _, weight in used]
    with torch.enable_grad():
        gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True) if output.requires_grad else [None] * len(weights)
    for (target, _), gradient in zip(used, gradients):
        if gradient is None:
            raise _Problem(f"No gradient reaches the weight of {target}: is there a no_grad or a detach() on the way?")


def _needed(graph: fx.Graph) -> list[str]:
    """The layers that the output depends on, each once."""
    nodes = [n for n in graph.nodes if n.op == "output"]
    for node in nodes:  # it grows meanwhile
        nodes += [n for n in node.all_input_nodes if n not in nodes]
    return list(dict.fromkeys(n.target for n in nodes if n.op == "call_module"))


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """The layer of torch that `module` is: its class, or the one that its class has `forward` from. None for what is walked through."""
    kind = next(c for c in type(module).__mro__ if c.__module__.startswith("torch.nn."))
    is_layer = kind is not nn.Module and not issubclass(kind, _CONTAINERS) and type(module).forward is kind.forward
    return kind if is_layer else None


def _layer(layer: nn.Module) -> list[Any]:
    kind = _kind(layer)
    if "forward" in vars(layer):
        raise _Problem(f"The {type(layer).__name__} has a forward of its own. Write a module with that forward instead.")
    attributes = {k: vars(layer)[k] for k in getattr(kind, "__constants__", ()) if k in vars(layer)}
    strange = [k for k, v in attributes.items() if not isinstance(v, (*_PLAIN, tuple))]
    if strange:
        raise _Problem(f"The {type(layer).__name__} has a {type(attributes[strange[0]]).__name__} for {strange[0]}.")
    return [kind.__name__, attributes, {k: _copied(v) for k, v in layer.state_dict().items()}]


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()  # a call moves running statistics


#: Methods that move a tensor or change its type → what the type is called as a method.
_MOVES = ("to", "type", "type_as", "cpu", "cuda")
_TYPES = {torch.float32: "float", torch.float64: "double"}


def _step(node: fx.Node, tracer: _Tracer) -> list[Any]:
    """One step, named as a learner writes it: `.values`, `[ ]`, `relu`."""
    if node.op == "call_method" and node.target in _MOVES:
        with torch.no_grad():
            kind = tracer.value(node).dtype
        if kind in _TYPES:
            return [node.name, node.op, _TYPES[kind], _packed(node.args[:1]), {}]
    if node.target is getattr:
        return [node.name, node.op, f".{node.args[1]}", _packed(node.args[:1]), {}]
    if node.target is operator.getitem:
        target = "[ ]"
    else:
        target = node.target if isinstance(node.target, str) else node.target.__name__
    return [node.name, node.op, target, _packed(node.args), _packed(node.kwargs)]


def _packed(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return ["node", value.name]
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", *map(_packed, value)]
    if isinstance(value, dict):
        return {k: _packed(v) for k, v in value.items()}
    if isinstance(value, _PLAIN):
        return ["is", value]
    if isinstance(value, torch.Tensor):
        return ["is", value.detach()]
    raise _Problem(f"A {type(value).__name__} stands in what the network computes. Build it from layers, activation functions and numbers.")
