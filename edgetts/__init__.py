"""Answer questions with a language model on this device, and decide how much to compute.

>>> import edgetts
>>> with edgetts.load("smollm2-135m-instruct") as engine:  # doctest: +SKIP
...     print(engine.answer("What is 17 + 25?", budget=edgetts.Budget(seconds=5)).text)
"""
