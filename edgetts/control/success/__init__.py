"""How likely an answer is right, by model and kind of task, before and while it is computed. Knows counts and shares, no text."""
