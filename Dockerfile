# docker build -t tundish --build-arg TORCH_INDEX=URL .
# docker run --rm --network host -v "$PWD/state:/state" tundish
#
# TORCH_INDEX names an index of CPU builds of PyTorch; without it PyPI's build brings gigabytes of CUDA libraries.
# The gateway listens on loopback only, as there is no authentication yet: hence the host's network. The volume has
# to be writable for user 10001. To run a project of your own: -v "$PWD:/project" tundish up -f /project/functions.yaml

FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/tundish
WORKDIR /src
COPY constraints.txt pyproject.toml ./
RUN /opt/tundish/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX" --no-deps} -c constraints.txt torch==2.13.0
COPY . .
RUN /opt/tundish/bin/pip install -c constraints.txt .

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home tundish && install -d -o tundish /state
COPY --from=build /opt/tundish /opt/tundish
COPY --chown=tundish functions.yaml /app/
COPY --chown=tundish functions /app/functions
COPY --chown=tundish docs /app/docs
ENV PATH=/opt/tundish/bin:$PATH TUNDISH_HOME=/state PYTHONUNBUFFERED=1
USER tundish
WORKDIR /app
VOLUME /state
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('TUNDISH_PORT', '8000') + '/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tundish"]
CMD ["up", "--no-reload"]
