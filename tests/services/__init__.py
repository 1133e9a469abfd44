"""Real servers for tests: plain processes on free ports in directories of their own.

They know how to start, stop, kill and clean up; what is stored in them is the tests' business.
"""

from tests.services.influx import InfluxDatabase, InfluxServer
from tests.services.mosquitto import Mosquitto
from tests.services.postgres import PostgresServer
from tests.services.process import MissingProgram, ServerProcess, ServiceFailed, free_port

__all__ = [
    "InfluxDatabase",
    "InfluxServer",
    "MissingProgram",
    "Mosquitto",
    "PostgresServer",
    "ServerProcess",
    "ServiceFailed",
    "free_port",
]
