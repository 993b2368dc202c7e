"""How sure to be of an answer, how often that is right, and when to say nothing."""
