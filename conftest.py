"""The plugin comes by its entry point (``squall`` in pyproject.toml); a checkout without installation loads it here."""

from importlib.metadata import entry_points

if not any(point.name == "squall" for point in entry_points(group="pytest11")):
    pytest_plugins = ["harness.pytest_plugin"]
