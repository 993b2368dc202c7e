"""Functions that a model may call: shown to it, its calls constrained and read. Knows texts; no tokens, no models."""
