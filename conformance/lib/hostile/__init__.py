"""Hostile input: what a peer should send, and what mutation makes of it.

One module for each kind: frames.py, messages.py, heads.py, requests.py.

Every choice comes from a `random.Random`. A seeded one makes a case again from its number; the one of
hypothesis (`randoms(use_true_random=False)`) shrinks it. hypothesis shrinks a number towards 0 and a choice
towards the first, so 0 and the first are the plain ones here.
"""
