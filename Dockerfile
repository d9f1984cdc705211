# docker build -t tundish --build-arg TORCH_INDEX=URL .
# docker run --rm -p 127.0.0.1:8000:8000 -v tundish:/state --read-only --tmpfs /tmp tundish
#
# TORCH_INDEX names an index of CPU builds of PyTorch: PyPI's build for Linux brings gigabytes of CUDA libraries, and is
# refused here. BASE is any Debian with Python; EXTRAS are those of pyproject.toml. The image has everything that
# `tundish up` starts, and the functions that ship with it in /app; a project of your own is mounted
# (docs/deployment.md), or copied over /app in an image that begins `FROM tundish`.

ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ARG TORCH_INDEX=""
ARG EXTRAS="hybrid,flower,jwt,otel,qdrant"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/tundish
WORKDIR /src
COPY constraints.txt pyproject.toml ./
RUN /opt/tundish/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX" --no-deps} -c constraints.txt torch==2.13.0 \
 && if /opt/tundish/bin/pip list | grep -iE '^(nvidia|cuda|triton)'; then \
      echo "PyTorch brought CUDA: name an index of CPU builds, --build-arg TORCH_INDEX=URL" >&2; exit 1; fi
# What the sources need, before the sources: a change of ours installs nothing anew.
RUN EXTRAS="$EXTRAS" python3 -c "import os, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
 extras = [one for name in os.environ['EXTRAS'].split(',') if name for one in p['optional-dependencies'][name]]; \
 print('\n'.join(p['dependencies'] + extras))" > needed.txt \
 && /opt/tundish/bin/pip install -c constraints.txt -r needed.txt
COPY . .
# Headers, test programs and the installer are of no use to whoever runs it.
RUN /opt/tundish/bin/pip install --no-deps . \
 && cd /opt/tundish/lib/python3*/site-packages \
 && rm -rf torch/include torch/test torch/share \
 && find torch/bin -type f ! -name torch_shm_manager -delete \
 && find scipy sklearn -type d -name tests -prune -exec rm -rf {} +

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --home-dir /state --no-create-home --shell /usr/sbin/nologin tundish \
 && install -d -o tundish -g tundish -m 0700 /state
COPY --from=build /opt/tundish /opt/tundish
COPY functions.yaml /app/
COPY functions /app/functions
COPY docs /app/docs
# On every address, so that a port can be published; whoever calls needs a key then (docs/security.md).
ENV PATH=/opt/tundish/bin:$PATH \
    TUNDISH_HOME=/state \
    TUNDISH_HOST=0.0.0.0 \
    HOME=/state \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /app
VOLUME /state
EXPOSE 8000
# Whatever part runs in the container: it asks whether all of them are ready.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 CMD ["tundish", "healthy"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "tundish"]
CMD ["up", "--no-reload"]
