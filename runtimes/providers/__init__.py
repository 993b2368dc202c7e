"""Find ONNX Runtime's execution providers, built in or as plug-ins, and open graphs with them.

Knows graphs only as files: not what they compute, nor for whom. What there is to know of each provider is data in
`profiles/`.
"""
