"""The validation rules, one a module, in the order of their numbers.

They know nothing of each other; only the list below knows them all (`collector.vee.catalogue`).
"""
