"""Profiles know devices and models as numbers, each with where it came from; they run no models of their own."""
