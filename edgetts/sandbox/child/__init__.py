"""What runs inside a sandboxed process. Imports nothing of edgetts outside this package.

The modules are loaded by `launcher` from this directory, in an interpreter without site-packages, and run
under Python 3.10 to 3.14; every import here is time that each execution pays.
"""
