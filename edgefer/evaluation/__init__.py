"""How far the artifacts drifted from the float network: metrics, paired statistics, layer by layer."""
