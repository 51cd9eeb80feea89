"""A seeded, lively market to try the pipeline on: orders, parcels, conversations, returns, claims, reviews, money.

`market` plans what happens, from a seed alone; `pace` says when; `feed` publishes it; `truth` remembers what was
published and works out, by rules of its own, what the pipeline must have made of it.
"""
