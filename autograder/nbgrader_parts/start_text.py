"""A step of generate_assignment: a cell that starts from a text of its own gets it in place of the stub."""

from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor


class StartText(NbGraderPreprocessor):
    """Debug exercises start from a broken program, the answer sheet from empty answers."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict[str, Any], index: int) -> tuple[NotebookNode, dict[str, Any]]:
        """Replaces the whole source; our own metadata goes."""
        start = cell.metadata.pop("dlcourse", {}).get("start")
        if start is not None:
            cell.source = start
        return cell, resources
