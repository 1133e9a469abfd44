"""From MQTT to stored and acknowledged: batches are decoded, checked, claimed, appended, completed.

The protocol is docs/decisions/0002: nothing lost, nothing counted twice.
"""
