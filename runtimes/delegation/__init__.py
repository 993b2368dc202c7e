"""Tell which operators of a graph run on a provider, which on the CPU and why, and how much of the model each is.

Knows graphs and providers; knows no models.
"""
