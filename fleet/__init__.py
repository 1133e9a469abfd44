"""The fleet's authority: who may be a gateway, a service or the broker, and how long.

Runs where its folder is, which may be a computer without a network. It must not know meters,
readings or the ledger.
"""
