"""Write the editions, or tell which of the committed ones are stale."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat

from autograder.build.notebook import self_study_notebook, source_notebook
from autograder.build.release import generate_release
from autograder.chapter import Chapter


def build(root: Path, chapters: Sequence[Chapter], progress: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Write the editions of `chapters` under `root`; returns the files written."""
    with tempfile.TemporaryDirectory() as folder:
        made = _editions(root, Path(folder), chapters, progress)
        return [_replace(Path(folder) / path, root / path) for path in made]


def stale(root: Path, chapters: Sequence[Chapter], progress: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Committed files of the editions that differ from what would be built, are missing, or should not be there."""
    with tempfile.TemporaryDirectory() as folder:
        made = _editions(root, Path(folder), chapters, progress)
        differ = [p for p in made if not (root / p).exists() or (root / p).read_bytes() != (Path(folder) / p).read_bytes()]
    return sorted(differ + _extra(root, chapters, set(made)))


def _editions(root: Path, out: Path, chapters: Sequence[Chapter], progress: Callable[[str], None]) -> list[Path]:
    for chapter in chapters:
        progress(f"{chapter.name}: source and self-study edition")
        _write(source_notebook(chapter), out / "source" / chapter.name / f"{chapter.slug}.ipynb")
        _write(self_study_notebook(chapter), out / "notebooks" / f"{chapter.name}.ipynb")
    progress("class edition, with nbgrader generate_assignment")
    generate_release(root, out, chapters)
    return sorted(p.relative_to(out) for kind in ("source", "release", "notebooks") for p in (out / kind).rglob("*.ipynb"))


def _write(notebook: nbformat.NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _replace(new: Path, old: Path) -> Path:
    old.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(new, old)
    return old


def _extra(root: Path, chapters: Sequence[Chapter], made: set[Path]) -> list[Path]:
    folders = [root / kind / c.name for kind in ("source", "release") for c in chapters]
    found = {
        p.relative_to(root) for f in folders if f.exists() for p in f.rglob("*") if p.is_file() and ".ipynb_checkpoints" not in p.parts
    }
    return list(found - made)
