"""The collector: head-end and meter-data management, from batches to balances and snapshots.

Its rooms meet in `app`; of the gateways it knows what `contract` says and nothing else.
"""
