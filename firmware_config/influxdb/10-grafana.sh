#!/bin/bash
# Run once by the image of InfluxDB 2, after it has made the bucket: lets InfluxQL find it under the
# database's name, and gives Grafana a user that may only read it.
set -euo pipefail

influx v1 dbrp create \
  --org "$DOCKER_INFLUXDB_INIT_ORG" \
  --bucket-id "$DOCKER_INFLUXDB_INIT_BUCKET_ID" \
  --db "$DOCKER_INFLUXDB_INIT_BUCKET" --rp autogen --default

influx v1 auth create \
  --org "$DOCKER_INFLUXDB_INIT_ORG" \
  --username grafana \
  --password "$(cat /run/secrets/influxdb_grafana_password)" \
  --read-bucket "$DOCKER_INFLUXDB_INIT_BUCKET_ID" >/dev/null
