"""Grafana dashboards as code: the queries, the panels, and the JSON that is generated from them.

It knows the names that readings have in InfluxDB (from `contract`) and Grafana's JSON; it must not
know how the collector stores or computes anything. `python -m dashboards` writes the JSON anew.
"""
