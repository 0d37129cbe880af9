"""A PoP whose flags are not all in memory: `settings: {tiers: {memory: BYTES}}`."""
