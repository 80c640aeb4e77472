"""The hybrid recommender: candidates and features of one user at a time, a linear ranker over them, reasons.

Belongs here: what is computed per user from the user's own rows, public item data and released numbers.
Does not belong here: anything learnt over users; that is trained in `ml.privacy` and enters as released numbers.
"""
