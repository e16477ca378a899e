"""Makes this folder an nbgrader course. Plain `nbgrader …` commands work here and use the settings below."""

import os

from autograder.lean import lean

lean()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of small matrix products cost more than they bring, most of all side by side

from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor  # noqa: E402
from nbgrader.preprocessors import (  # noqa: E402
    AssignLatePenalties,
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    DeduplicateIds,
    GetGrades,
    IgnorePattern,
    IncludeHeaderFooter,
    LimitOutput,
    LockCells,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
    SaveCells,
)

from autograder.nbgrader_parts import untrusted  # noqa: E402
from autograder.nbgrader_parts.hide_tests import HideTests  # noqa: E402
from autograder.nbgrader_parts.judge import Judge  # noqa: E402
from autograder.nbgrader_parts.reading import SubmissionExporter  # noqa: E402
from autograder.nbgrader_parts.rebuild import Rebuild  # noqa: E402
from autograder.nbgrader_parts.start_text import StartText  # noqa: E402

c = get_config()  # noqa: F821  (given by the loader of configuration files)
c.CourseDirectory.course_id = "dlcourse"
c.GenerateAssignment.preprocessors = [
    IncludeHeaderFooter,
    LockCells,
    ClearSolutions,
    StartText,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
]
c.GenerateFeedback.preprocessors = [GetGrades, HideTests, CSSHTMLHeaderPreprocessor]

# DLCOURSE_EXECUTE=stock grades as nbgrader does by itself: in a kernel, slower and unprotected. For comparison.
if os.environ.get("DLCOURSE_EXECUTE") != "stock":
    untrusted.install()
    c.Autograde.exporter_class = SubmissionExporter
    c.Autograde.sanitize_preprocessors = [
        Rebuild,
        ClearOutput,
        DeduplicateIds,
        OverwriteKernelspec,
        OverwriteCells,
        CheckCellMetadata,
    ]
    c.Autograde.autograde_preprocessors = [
        Judge,
        IgnorePattern,
        ClearMetadataPreprocessor,
        LimitOutput,
        SaveAutoGrades,
        AssignLatePenalties,
        CheckCellMetadata,
    ]
    # "full" refuses to grade where submissions cannot be locked in; "none" only separates the processes.
    c.Judge.sandbox = os.environ.get("DLCOURSE_SANDBOX", "full")
