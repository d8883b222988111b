# The balancer, and the demo backend beside it. Any Debian-like image with Python 3.11 or later and openssl is a base.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements.lock .
RUN python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements.lock

# l7lb into it, as a wheel whose hot path is compiled; with COMPILE=0, or when no compiler can be had, it is pure Python.
FROM packages AS l7lb
ARG COMPILE=1
COPY requirements-dev.lock .
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
RUN if [ "$COMPILE" = 1 ]; then \
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev python3-dev; } \
            || echo "no compiler can be had: going on with pure Python" >&2; \
    fi
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY app app
COPY settings settings
RUN L7LB_COMPILE=$COMPILE /build/bin/python -m hatchling build --target wheel --directory /wheel \
    && /venv/bin/pip install --disable-pip-version-check --no-index --no-deps /wheel/*.whl

FROM ${BASE_IMAGE}
COPY --from=l7lb /venv /venv
WORKDIR /srv/l7lb
COPY scripts/container scripts/dev-cert scripts/demo_backend.py scripts/healthcheck.py scripts/
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8443
# Writes to /tmp alone, and there only without a certificate of its own: runs with a read-only root and a tmpfs.
USER 10001:10001
EXPOSE 8443
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["scripts/healthcheck.py"]
STOPSIGNAL SIGTERM
CMD ["scripts/container"]
