"""The repository as a whole: its files agree with each other."""

import re
import subprocess
import sys
import tomllib

import yaml
from support import CHAPTERS, ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_conda_and_pip_install_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-e .[dev]"], "pyproject.toml is the one list of dependencies"
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python="))
    wanted = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert python == f"python={wanted}"


def test_every_dependency_has_a_reason_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    everything = [
        *PYPROJECT["project"]["dependencies"],
        *(d for extra in PYPROJECT["project"]["optional-dependencies"].values() for d in extra),
    ]
    names = [re.match(r"[\w.-]+", d)[0] for d in everything]
    assert not [n for n in names if f"`{n}`" not in text]


def test_the_readme_names_every_chapter():
    text = (ROOT / "README.md").read_text()
    assert not [c for c in CHAPTERS if f"notebooks/{c}.ipynb" not in text]


def test_utils_never_imports_the_grader():
    assert not [p for p in (ROOT / "utils").rglob("*.py") if re.search(r"^\s*(from|import) autograder", p.read_text(), re.M)]


def test_the_students_process_imports_nothing_of_the_judge():
    allowed = {"autograder.errors", "autograder.student"}
    for path in (ROOT / "autograder/student").rglob("*.py"):
        found = set(re.findall(r"^\s*(?:from|import) (autograder[\w.]*)", path.read_text(), re.M))
        assert not {f for f in found if f not in allowed and not f.startswith("autograder.student.")}, path


def test_the_code_is_ruff_clean():
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
