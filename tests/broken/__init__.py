"""Platforms that are wrong on purpose, each in one way that no setting gives. Named as a topology's `program`."""
