"""Many clients at once, in a lean process of their own."""
