"""Which flags are hot: counted in bounded memory, judged with hysteresis (specification, "Hot Spot Mitigation")."""
