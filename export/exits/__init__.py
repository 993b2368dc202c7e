"""Train draft heads on a model's own text, and write them into its bundle.

Knows bundles, sessions and, while training, torch. Nothing here is imported at run time.
"""
