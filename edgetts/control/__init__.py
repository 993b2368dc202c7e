"""Control knows profiles, costs and what has been spent: it never sees logits or text."""
