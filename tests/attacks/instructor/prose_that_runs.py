"""Adds scripts to the notebook's prose, to stored outputs, attachments and titles."""

SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}
EVIL = "<script>alert(1)</script><iframe src=//evil></iframe><img src=x onerror=alert(1)>"


def alter(notebook, place):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and not cell["metadata"].get("nbgrader", {}).get("locked"):
            cell["source"] = EVIL
            cell["attachments"] = {"x.svg": {"image/svg+xml": EVIL}}
        elif cell["cell_type"] == "code":
            cell["outputs"] = [
                {"output_type": "display_data", "metadata": {}, "data": {"text/html": EVIL, "application/javascript": "alert(1)"}}
            ]
    notebook["metadata"]["title"] = notebook["metadata"]["authors"] = EVIL
    extra = {"cell_type": "markdown", "metadata": {}, "source": EVIL, "id": "evil"}
    return notebook | {"cells": [extra, *notebook["cells"], extra | {"id": "evil2", "cell_type": "raw"}]}
