"""A notebook whose only solution cell has an id that cannot be written as UTF-8."""


def alter(notebook, place):
    for cell in notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = "\ud800\x1b[31m-solution"
    return notebook
