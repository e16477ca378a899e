"""Makes this folder an nbgrader course. Plain `nbgrader …` commands work here and use the settings below."""

from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    IncludeHeaderFooter,
    LockCells,
    SaveCells,
)

from autograder.nbgrader_parts.start_text import StartText

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
