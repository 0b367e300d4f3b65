# The daemon and the command line. Tasks come in a derived image, or as a volume in /app/tasks:
#   docker run -e OPENQUEUE_DATABASE_URL=postgresql://… -v ./tasks:/app/tasks:ro openqueue
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
# The locked versions as constraints: the lock also holds what only tests need.
RUN sed -nE 's/^([a-z0-9.-]+==[^ ;]+)( ;[^\\]*)?.*$/\1\2/p' requirements.lock > constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY openqueue ./openqueue
COPY sql ./sql
RUN python -m venv /opt/openqueue \
    && /opt/openqueue/bin/pip install --no-cache-dir --constraint constraints.txt '.[metrics]'

FROM python:3.13-slim
RUN groupadd --gid 10001 openqueue \
    && useradd --uid 10001 --gid openqueue --home-dir /app --create-home --shell /usr/sbin/nologin openqueue
COPY --from=build /opt/openqueue /opt/openqueue
ENV PATH=/opt/openqueue/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OPENQUEUE_HEALTH=127.0.0.1:9464 \
    OPENQUEUE_LOG_FORMAT=json
WORKDIR /app
USER 10001:10001
# SIGTERM stops intake and waits for running jobs (30 s by default): give `docker stop` more time than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["openqueue", "health", "--live"]
ENTRYPOINT ["openqueue"]
CMD ["worker"]
