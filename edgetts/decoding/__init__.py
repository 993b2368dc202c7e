"""Decoding knows sessions and random generators: no text, no joules."""
