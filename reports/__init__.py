"""Reports: histories and findings in; HTML, JSON, JUnit and Markdown out."""

from reports.build import make
from reports.model import Results, RunFacts, ScenarioRecord

__all__ = ["Results", "RunFacts", "ScenarioRecord", "make"]
