"""Many questions, one session: continuous batching, priorities, admission, prompt-prefix cache.

Knows sessions, token ids and threads; no text, no budgets, no clocks but to be patient by.
"""
