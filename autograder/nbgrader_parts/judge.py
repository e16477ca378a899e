"""A step of `nbgrader autograde`: the judge, in the place where nbgrader ran the notebook."""

import atexit
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute
from traitlets import Enum

from autograder.grading.judging import Bench, judge_submission, show_verdicts
from autograder.grading.submission import Submission
from autograder.grading.worker import blueprint_of
from autograder.student.prove import prove, require

_benches: dict[str, Bench] = {}


class Judge(Execute):
    """Reaches the verdicts outside of the submission's process, and shows them as the graded cells' results.

    Notebooks of assignments that are no chapter are run by nbgrader's own `Execute`, whose settings this class has too.
    """

    sandbox = Enum(["full", "none"], "full", help="How submissions are locked in: full, or none.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any], **kwargs: Any) -> tuple[NotebookNode, dict[str, Any]]:
        """Fills in the outputs."""
        rebuilt = nb.metadata.pop("dlcourse", None)
        if rebuilt is None:
            return super().preprocess(nb, resources, **kwargs)
        blueprint = blueprint_of(Path.cwd(), resources["nbgrader"]["assignment"])
        graded = judge_submission(blueprint, _submission(nb, rebuilt), bench(self.sandbox))
        for failure in graded.failures:
            self.log.error("The judge failed on a cell of %s: %s", resources["nbgrader"]["student"], failure)
        return nbformat.from_dict(show_verdicts(nb, graded)), resources


def _submission(nb: NotebookNode, rebuilt: dict[str, Any]) -> Submission:
    """What `Rebuild` took from the file that was handed in."""
    texts = {c.metadata.get("nbgrader", {}).get("grade_id"): c.source for c in nb.cells}
    sources = {id: text for id, text in texts.items() if id and id not in rebuilt["missing"]}
    return Submission(sources, {id: tuple(notes) for id, notes in rebuilt["notes"].items()}, rebuilt["problem"])


def bench(sandbox: str) -> Bench:
    """One zygote for all submissions of this process; it has proved that its lock holds."""
    if sandbox not in _benches:
        _benches[sandbox] = Bench(sandbox, hidden=(Path.cwd(),))
        atexit.register(_benches[sandbox].close)
        if sandbox == "full":
            require(prove(_benches[sandbox].zygote))
    return _benches[sandbox]
