"""Replaces the text of test cells by the points, and makes them solution cells in the metadata."""


def alter(notebook, place):
    for cell in notebook["cells"]:
        nbgrader = cell["metadata"].get("nbgrader", {})
        if nbgrader.get("grade"):
            cell["source"] = str(nbgrader["points"])
            nbgrader.update(locked=False, solution=True, checksum="0" * 32)
    return notebook
