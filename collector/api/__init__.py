"""The HTTP API: parse, authorise, call an operation, answer. It decides nothing by itself.

Start at `app.create_app`; it must not know SQL, MQTT or how a snapshot is computed.
"""
