"""A step of generate_feedback: what is hidden stays hidden, in a cell's text and in tracebacks."""

import re
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

_REGION = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS[^\n]*\n?", re.S | re.M)
#: Errors whose text is a learner's own affair or stands in the visible asserts.
_SHOWN = {"AssertionError", "NameError", "NotImplementedError"}


class HideTests(NbGraderPreprocessor):
    """nbgrader shows hidden tests in feedback (jupyter/nbgrader issues 917 and 1363); this does not."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict[str, Any], index: int) -> tuple[NotebookNode, dict[str, Any]]:
        """Cuts the hidden lines out of a cell, and tracebacks out of graded cells."""
        if cell.cell_type != "code" or not cell.metadata.get("nbgrader", {}).get("grade"):
            return cell, resources
        cell.source = _REGION.sub("", cell.source)
        for output in cell.outputs:
            if output.output_type == "error":
                output.evalue = output.evalue if output.ename in _SHOWN else ""
                output.traceback = [f"{output.ename}: {output.evalue}" if output.evalue else output.ename]
        return cell, resources
