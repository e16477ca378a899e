"""Uploads a zip whose entry has the name that the platform gives to another student's file."""

import json


def handout(place):
    import io
    import zipfile

    work = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    cell = {
        "cell_type": "code",
        "metadata": {"nbgrader": {"grade_id": "activations-zigzag-solution"}},
        "source": "# uploaded-mark",
        "outputs": [],
    }
    work["cells"].append(cell | {"execution_count": None, "id": "a"})
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(f"{place.neighbour}_12_34_activations.ipynb", json.dumps(work))
        archive.writestr(f"{place.neighbour}/activations.ipynb", json.dumps(work))
        archive.writestr("bob_12_34_activations.ipynb", json.dumps(work))
    return {"aaron_56_78_work.zip": inner.getvalue()}


def success(seen):
    return f"handed in for {sorted(seen.bearers)}" if seen.bearers else ""
