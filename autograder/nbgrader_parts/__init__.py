"""Our steps in nbgrader's pipelines, named in `nbgrader_config.py`."""
