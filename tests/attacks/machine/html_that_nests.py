"""Displays lists that nest thousands deep, in every cell: cleaning them takes time with the square of the depth."""

import json

_CELL = """
from IPython.display import HTML, display
for _ in range(20):
    display(HTML("<ul><li>" * 6230))
"""
_NAMES = "stable-sigmoid stable-tanh zigzag dead-units softmax-temperature cross-entropy-logits fix-nll fix-classifier test-softmax quiz"
SOLUTIONS = {f"activations.{name}": _CELL for name in _NAMES.split()}


def success(seen):
    nested = json.dumps(seen.notebook).count("<ul>")
    return f"{nested} nested lists are in the graded notebook" if nested > 10_000 else ""
