"""Hands in a notebook of 30 MB, and one that holds a million cells."""

import json


def alter(notebook, place):
    cell = {"cell_type": "raw", "metadata": {}, "source": "x" * 1000, "id": "a"}
    return json.dumps(notebook | {"cells": notebook["cells"] + [cell] * 30_000})


def success(seen):
    return "the large notebook was kept" if len(json.dumps(seen.notebook)) > 20 << 20 else ""
