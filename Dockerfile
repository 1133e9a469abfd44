# One image for all programs of the distribution; docker-compose.yml says which one a container runs.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/songlo
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
COPY contract contract
COPY gateway gateway
COPY collector collector
COPY fleet fleet
COPY simulator simulator
COPY songlo songlo
COPY firmware_config firmware_config
COPY dashboards dashboards
RUN /opt/songlo/bin/pip install --no-cache-dir --constraint constraints.txt \
    ".[gateway,collector,simulator]"

FROM python:3.11.13-slim-bookworm
COPY --from=build /opt/songlo /opt/songlo
ENV PATH=/opt/songlo/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Whoever starts it says which user it is; never root by default.
USER 10001:10001
ENTRYPOINT ["songlo"]
