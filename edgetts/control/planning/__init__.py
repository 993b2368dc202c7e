"""Choose a plan: every way of computing that the limits allow, what each promises, and the best of them."""
