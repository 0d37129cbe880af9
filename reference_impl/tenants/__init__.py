"""Organisations and what they pay for (specification, "Bulkhead Pattern")."""
