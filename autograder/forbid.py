"""Find in the text of a solution what its task rules out."""

import ast
from collections.abc import Iterator, Mapping

#: What the names of a set-up cell usually stand for.
USUAL = {"np": "numpy", "torch": "torch", "F": "torch.nn.functional", "nn": "torch.nn", "math": "math", "scipy": "scipy"}
LIBRARIES = ("numpy", "torch", "scipy", "sklearn", "math")


def find_forbidden(source: str, forbid: Mapping[str, str]) -> str | None:
    """A sentence about the first forbidden module or function that `source` uses, or None.

    Parameters
    ----------
    forbid : dotted name → why; "torch" forbids a module, "torch.softmax" a function, also as a method and under an alias
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    if not forbid:
        return None
    aliases = dict(USUAL)
    for node in ast.walk(tree):
        aliases.update(_imported(node))
    own = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for node in ast.walk(tree):
        for used in _uses(node, aliases, own):
            for name, why in forbid.items():
                if _is(used, name):
                    reason = f": {why}" if why else ""
                    return f"Line {node.lineno} uses {_short(name)}, which this task rules out{reason}. Build it yourself."
    return None


def _short(name: str) -> str:
    return name.replace("numpy.", "np.").replace("torch.nn.functional.", "F.")


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for a in node.names:
            yield (a.asname, a.name) if a.asname else (a.name.partition(".")[0], a.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom) and node.module:
        for a in node.names:
            yield a.asname or a.name, f"{node.module}.{a.name}"


def _uses(node: ast.AST, aliases: Mapping[str, str], own: set[str]) -> Iterator[str]:
    """Dotted names that a node uses; a method of an unknown object is ".name"."""
    if isinstance(node, ast.Import):
        yield from (a.name for a in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{a.name}" for a in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in aliases and node.id not in own:
        yield aliases[node.id]
    elif isinstance(node, ast.Attribute):
        yield _dotted(node, aliases)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "__import__", "import_module"):
        yield from (f"torch.{a.value}" for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def _dotted(node: ast.Attribute, aliases: Mapping[str, str]) -> str:
    parts, base = [node.attr], node.value
    while isinstance(base, ast.Attribute):
        parts.insert(0, base.attr)
        base = base.value
    if isinstance(base, ast.Name):
        if base.id in aliases:
            return ".".join([aliases[base.id], *parts])
        if base.id in ("self", "cls"):
            return ""
    return f".{node.attr}"


def _is(used: str, name: str) -> bool:
    """Whether using `used` is using the forbidden `name`."""
    if "." not in name:  # a module
        return used == name or used.startswith(f"{name}.") or used == f"torch.{name}"
    if used in (name, f"{name.rpartition('.')[0]}.*"):
        return True
    library, _, last = used.rpartition(".")
    if last != name.rpartition(".")[2]:
        return False
    return _is_method(last) if used.startswith(".") else library.partition(".")[0] in LIBRARIES


def _is_method(name: str) -> bool:
    """Whether arrays or tensors have such a method; `block.layer_norm` is somebody's own."""
    import numpy
    import torch

    return hasattr(torch.Tensor, name) or hasattr(numpy.ndarray, name)
