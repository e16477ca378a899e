"""How `nbgrader autograde` reads a submission: never through a library that trusts it."""

from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbformat import v4

from autograder.course import chapters


class SubmissionExporter(NotebookExporter):
    """Hands the name of a submitted file on instead of its content; `Rebuild` reads it.

    Damaged files, links and hostile metadata thus never meet nbgrader's own reading, and never stop the batch. Notebooks of assignments
    that are no chapter are read as usual.
    """

    def from_filename(self, filename: str, resources: dict[str, Any] | None = None, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        """An empty notebook that names the file, while submissions are sanitised; else as nbconvert does."""
        assignment = (resources or {}).get("nbgrader", {}).get("assignment")
        if not getattr(self.parent, "_sanitizing", False) or assignment not in chapters(Path.cwd()):
            return super().from_filename(filename, resources=resources, **kwargs)
        notebook = v4.new_notebook(metadata={"dlcourse": {"submitted": str(filename)}})
        return self.from_notebook_node(notebook, resources=resources, **kwargs)
