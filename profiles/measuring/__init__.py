"""Measure on this device how long a model's work takes, and what it takes of memory and power.

Knows sessions, token ids, clocks and meters, all of which it is given. No text, no files, no budgets: what it
finds is a SpeedProfile, which others keep, and plan by.
"""
