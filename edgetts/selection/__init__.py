"""Choose among answers. Selection knows finished or partial texts with log-probs; it never calls a runtime.

When it wants more samples or a score, it says so in what it returns, and the engine obtains it.
"""
