"""Is the only one of a hand-out, and names the notebook in its upload like another student."""

import json


def handout(place):
    import io
    import zipfile

    cell = {
        "cell_type": "code", "metadata": {"nbgrader": {"grade_id": "activations-zigzag-solution"}}, "source": "# uploaded-mark",
        "outputs": [], "execution_count": None, "id": "a",
    }  # fmt: skip
    work = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(f"{place.neighbour}.ipynb", json.dumps(work))
    return {"mallory.zip": inner.getvalue()}


def success(seen):
    return f"handed in for {sorted(seen.bearers)}" if seen.bearers else ""
