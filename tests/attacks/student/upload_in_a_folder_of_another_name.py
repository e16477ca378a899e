"""Uploads files and folders of its own choice of names where a platform hands out one folder for each student."""

import json


def handout(place):
    cell = {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "activations-zigzag-solution"}}, "source": "# uploaded-mark"}
    cell |= {"outputs": [], "execution_count": None, "id": "a"}
    work = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}).encode()
    them = place.neighbour
    names = (
        f"mallory/x_{them}_attempt_2026-01-30-15-00-00_activations.ipynb",
        f"mallory/{them}/activations.ipynb",
        f"mallory/{them}_1_assignsubmission_file_/activations.ipynb",
        f"aaron_56_78_x_{them}_attempt_2026-01-30-15-00-00_activations.ipynb",
    )
    return dict.fromkeys(names, work)


def success(seen):
    return f"handed in for {sorted(seen.bearers)}" if seen.bearers else ""
