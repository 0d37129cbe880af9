"""squall's engine: it starts a platform, breaks it, measures it from the client's side and judges what it saw."""
