"""Names a kernel, a language and a format of its own in the notebook's metadata."""

SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def alter(notebook, place):
    notebook["metadata"]["kernelspec"] = {"name": "../../evil", "display_name": "evil", "language": "bash"}
    notebook["metadata"]["language_info"] = {"name": "bash", "codemirror_mode": {"name": ["x"]}}
    notebook["nbformat_minor"] = -1
    return notebook
