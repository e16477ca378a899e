"""Uploads a file whose own name looks like what a platform calls another student's attempt."""

import json


def handout(place):
    cell = {
        "cell_type": "code",
        "metadata": {"nbgrader": {"grade_id": "activations-zigzag-solution"}},
        "source": "# uploaded-mark",
        "outputs": [],
    }
    work = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell | {"execution_count": None, "id": "a"}]}
    name = f"ps1_mallory_attempt_2026-01-30-15-00-00_{place.neighbour}_attempt_2026-01-30-15-00-00_activations.ipynb"
    return {name: json.dumps(work).encode()}


def success(seen):
    return f"handed in for {sorted(seen.bearers)}" if seen.bearers else ""
