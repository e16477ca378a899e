"""A step of `nbgrader autograde`: the instructor's notebook with a submission's solutions takes the submission's place."""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.grading.submission import read_submission
from autograder.grading.worker import blueprint_of


class Rebuild(NbGraderPreprocessor):
    """From the submission comes only the text of solution cells, by nbgrader's id."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Needs the file's name from `SubmissionExporter`; leaves other notebooks as they are."""
        submitted = nb.metadata.get("dlcourse", {}).get("submitted")
        if submitted is None:
            return nb, resources
        blueprint = blueprint_of(Path.cwd(), resources["nbgrader"]["assignment"])
        submission = read_submission(Path(submitted), blueprint.solution_ids)
        if submission.problem:
            self.log.warning("%s: %s", submitted, submission.problem)
        rebuilt = nbformat.from_dict(blueprint.rebuild(submission))
        missing = sorted(blueprint.solution_ids - submission.sources.keys())
        rebuilt.metadata.dlcourse = nbformat.from_dict(
            {"problem": submission.problem, "missing": missing, "notes": {k: list(v) for k, v in submission.notes.items()}}
        )
        return rebuilt, resources
