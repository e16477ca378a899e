"""Pastes a second copy of a test cell."""

ALONE = True
SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def alter(notebook, place):
    tests = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade")]
    notebook["cells"] += [c | {"id": f"copy-{i}", "source": "2.0"} for i, c in enumerate(tests)]
    return notebook
