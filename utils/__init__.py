"""What the course's notebooks import: figures, widgets, quizzes and data.

Importing is quick and needs neither a display nor a kernel nor a home folder: matplotlib, ipywidgets, scikit-learn
and the Markdown parser are loaded by the first call that needs them.
"""

from utils import data, figures, quiz
from utils.errors import UsageError
from utils.quiz import ask
from utils.widgets import explore, predict, reveal

__all__ = ["UsageError", "ask", "data", "explore", "figures", "predict", "quiz", "reveal"]
