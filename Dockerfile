# The balancer, and the demo backend beside it. Any Debian-like image with Python 3.11 or later and openssl is a base.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements.lock .
RUN python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

FROM ${BASE_IMAGE}
COPY --from=packages /venv /venv
WORKDIR /srv/l7lb
COPY app app
COPY settings settings
COPY scripts/container scripts/dev-cert scripts/demo_backend.py scripts/healthcheck.py scripts/
ENV PATH=/venv/bin:$PATH PYTHONPATH=/srv/l7lb PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8443
RUN python -m compileall -q app settings \
    && printf '#!/bin/sh\nexec python -m app "$@"\n' >/venv/bin/l7lb && chmod +x /venv/bin/l7lb
# Writes to /tmp alone, and there only without a certificate of its own: runs with a read-only root and a tmpfs.
USER 10001:10001
EXPOSE 8443
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["scripts/healthcheck.py"]
STOPSIGNAL SIGTERM
CMD ["scripts/container"]
