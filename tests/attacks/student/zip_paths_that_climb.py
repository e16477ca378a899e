"""A zip whose entries climb out of the folder, or end in another student's."""

import json


def handout(place):
    cell = {
        "cell_type": "code",
        "metadata": {"nbgrader": {"grade_id": "activations-zigzag-solution"}},
        "source": "# uploaded-mark",
        "outputs": [],
    }
    work = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell | {"execution_count": None, "id": "a"}]}).encode()
    end = f"{place.neighbour}/{place.chapter}/{place.slug}.ipynb"
    names = (
        f"../submitted/{end}",
        f"x/../{end}",
        f"/{place.course}/submitted/{end}",
        f"..\\submitted\\{end}",
        f"mallory/{place.chapter}/../../{end}",
    )
    return dict.fromkeys(names, work) | {f"../{place.canary.name}/made.ipynb": work, "..ipynb": work, ".hidden/activations.ipynb": work}


def success(seen):
    return f"handed in for {sorted(seen.bearers)}" if seen.bearers else ""
