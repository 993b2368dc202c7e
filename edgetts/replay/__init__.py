"""Replay recorded samples through the loop that answers questions, on a simulated clock and meter; knows no model."""
