"""Imports point one way; the contracts are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lint_imports(folder):
    argv = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*argv, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_imports_point_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
    assert " 0 kept" not in done.stdout


def test_an_import_upwards_is_noticed(tmp_path):
    """The same contracts on a copy in which the platform reaches for the engine."""
    for package in ("harness", "faults", "reports", "reference_impl"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    for module in ("runtime", "network", "probes"):
        (tmp_path / "harness" / f"{module}.py").write_text("")
    (tmp_path / "reference_impl" / "bad.py").write_text("import harness.probes\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
