"""A network as plain data: its layers, their parameters, and the order in which they are used.

Probes return it, so that the judge builds the same network (`autograder.networks`) and measures for itself.
"""

import operator
from typing import Any

import torch
from torch import fx, nn

_PLAIN = (type(None), bool, int, float, str)


class _Tracer(fx.Tracer):
    """Walks through containers and a learner's own modules; layers of torch are the leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("torch.nn") and not isinstance(m, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def describe(net: Any) -> dict[str, Any]:
    """What `net` does to its input, as plain data.

    Parameters
    ----------
    net : an `nn.Module` of layers of `torch.nn` and functions of torch, without branches on values

    Returns
    -------
    {"steps": [[name, kind, target, args, kwargs]], "layers": {target: [class, attributes, state]}, "values": {target: tensor}},
    or {"problem": one sentence} for what cannot be described
    """
    if not isinstance(net, nn.Module):
        return {"problem": f"The function should return an nn.Module; it returned a {type(net).__name__}."}
    try:
        graph = _Tracer().trace(net)
        steps = [[n.name, n.op, _target(n), _packed(n.args), _packed(n.kwargs)] for n in graph.nodes]
        layers = {n.target: _layer(net.get_submodule(n.target)) for n in graph.nodes if n.op == "call_module"}
        values = {n.target: operator.attrgetter(n.target)(net).detach() for n in graph.nodes if n.op == "get_attr"}
    except Exception as error:
        return {"problem": f"The network could not be followed from input to output: {type(error).__name__}: {str(error)[:300]}"}
    return {"steps": steps, "layers": layers, "values": values}


def _target(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else node.target.__name__


def _layer(layer: nn.Module) -> list[Any]:
    attributes = {k: v for k, v in vars(layer).items() if not k.startswith("_") and k != "training"}
    strange = [k for k, v in attributes.items() if not isinstance(v, (*_PLAIN, tuple))]
    if strange:
        raise ValueError(f"the {type(layer).__name__} has a {strange[0]} of its own")
    return [type(layer).__name__, attributes, {k: v.detach() for k, v in layer.state_dict().items()}]


def _packed(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return ["node", value.name]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_packed, value)]
    if isinstance(value, dict):
        return {k: _packed(v) for k, v in value.items()}
    if isinstance(value, _PLAIN):
        return ["is", value]
    if isinstance(value, torch.Tensor):
        return ["is", value.detach()]
    raise ValueError(f"a {type(value).__name__} stands in it")
