"""Plans people write, and what follows from them."""
