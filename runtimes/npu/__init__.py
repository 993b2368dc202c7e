"""Run static bundles through execution providers of NPUs, or of any device that wants fixed shapes.

Knows token ids, graphs and providers: no text, no budgets, no clocks.
"""
