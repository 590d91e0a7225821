"""A smaller network where int8 alone is over the budget: channels removed, and what is left learned again."""
