"""Find in the text of a solution what its task rules out."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

#: What the names of a set-up cell usually stand for.
USUAL = {"np": "numpy", "torch": "torch", "F": "torch.nn.functional", "nn": "torch.nn", "math": "math", "scipy": "scipy"}
#: Stands for a library of which the text does not tell which it is.
_ANY = "?"
LIBRARIES = ("numpy", "torch", "scipy", "sklearn", "math", _ANY)
_CELL_MAGIC = re.compile(r"\A\s*%%\w.*")


def find_forbidden(source: str, forbid: Mapping[str, str]) -> str | None:
    """A sentence about the first forbidden module or function that `source` uses, or None.

    Parameters
    ----------
    forbid : dotted name → why; "torch" forbids a module, "torch.softmax" a function, also as a method and under an alias
    """
    tree = _tree(source) if forbid else None
    if tree is None:
        return None
    nodes = [*ast.walk(tree)]
    names = _names(nodes)
    for node in _outermost(nodes):
        for used in _uses(node, names):
            for name, why in forbid.items():
                if _is(used, name):
                    reason = f": {why}" if why else ""
                    return f"Line {node.lineno} uses {_short(name)}, which this task rules out{reason}. Build it yourself."
    return None


def _tree(source: str) -> ast.Module | None:
    """The program, its magics translated; None if it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        from IPython.core.inputtransformer2 import TransformerManager  # takes a moment, and few cells have magics
    try:
        return ast.parse(TransformerManager().transform_cell(_CELL_MAGIC.sub("", source)))
    except (SyntaxError, ValueError):
        return None


@dataclass(frozen=True)
class _Names:
    """What names mean in a cell.

    Attributes
    ----------
    aliases : names that stand for something of a library
    own : names of the cell's own
    attributes : names of the cell's own that stand after a dot
    stars : modules of which it takes everything
    """

    aliases: Mapping[str, str]
    own: Set[str]
    attributes: Set[str]
    stars: Sequence[str]


def _names(nodes: Sequence[ast.AST]) -> _Names:
    own = {name for node in nodes for name in _defined(node)}
    aliases = {name: meaning for name, meaning in USUAL.items() if name not in own}
    for node in nodes:
        aliases.update(_imported(node))
    attributes = {n.arg for n in nodes if isinstance(n, ast.keyword)} | {n.attr for n in nodes if isinstance(n, ast.Attribute) and _set(n)}
    stars = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and n.names[0].name == "*"]
    return _Names(aliases, own, own | attributes, stars)


def _defined(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.arg():
            yield node.arg
        case ast.Name() if _set(node):
            yield node.id


def _set(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _outermost(nodes: Sequence[ast.AST]) -> list[ast.AST]:
    """Every node, but of `a.b.c` only the whole."""
    inner = {id(n.value) for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Attribute)}
    return [n for n in nodes if id(n) not in inner]


def _short(name: str) -> str:
    return name.replace("numpy.", "np.").replace("torch.nn.functional.", "F.")


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for a in node.names:
            yield (a.asname, a.name) if a.asname else (a.name.partition(".")[0], a.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom) and node.module:
        for a in node.names:
            yield a.asname or a.name, f"{node.module}.{a.name}"


def _uses(node: ast.AST, names: _Names) -> Iterator[str]:
    """Dotted names that a node uses; a method of an unknown object is ".name"."""
    match node:
        case ast.Import():
            yield from (a.name for a in node.names)
        case ast.ImportFrom(module=str(module)):
            yield from (module if a.name == "*" else f"{module}.{a.name}" for a in node.names)
        case ast.Name(id=name, ctx=ast.Load()) if name in names.aliases:
            yield names.aliases[name]
        case ast.Name(id=name, ctx=ast.Load()) if name not in names.own:
            yield from (f"{module}.{name}" for module in names.stars)
        case ast.Attribute():
            yield from _dotted(node, names)
        case ast.Call(func=ast.Name(id="getattr" | "__import__" | "import_module")):
            yield from (f"{_ANY}.{a.value}" for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
        case ast.Subscript(value=ast.Call(func=ast.Name(id="vars")) | ast.Attribute(attr="__dict__"), slice=ast.Constant(value=str(name))):
            yield f"{_ANY}.{name}"


def _dotted(node: ast.Attribute, names: _Names) -> Iterator[str]:
    parts, base = [node.attr], node.value
    while isinstance(base, ast.Attribute):
        parts.append(base.attr)
        base = base.value
    if isinstance(base, ast.Name) and base.id in names.aliases:
        yield ".".join([names.aliases[base.id], *reversed(parts)])
    elif not (isinstance(base, ast.Name) and base.id in ("self", "cls")):
        yield from (f".{part}" for part in parts if part not in names.attributes)


def _is(used: str, name: str) -> bool:
    """Whether using `used` is using the forbidden `name`."""
    if f"{used}.".startswith((f"{name}.", f"{_ANY}.{name}.")):
        return True
    last = name.rpartition(".")[2]
    library, *parts = used.split(".")
    return last in parts and (_is_method(last) if used.startswith(".") else library in LIBRARIES)


def _is_method(name: str) -> bool:
    """Whether arrays or tensors have such a method; `block.layer_norm` is somebody's own."""
    import numpy
    import torch

    return hasattr(torch.Tensor, name) or hasattr(numpy.ndarray, name)
