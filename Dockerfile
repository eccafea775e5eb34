# specktrack with TensorRT on an NVIDIA GPU: docs/engines.md, "Build a plan". Research use only. Not a medical device.
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rt rt
COPY export export
COPY training training
COPY tools tools
COPY configs configs
RUN pip install --no-cache-dir ".[trt]" \
    && ln -s "$(python -c 'from specktrack.rt.manifest import shipped_folder; print(shipped_folder())')" /models

# Findings about this machine and its plans outlive the container when /cache is a volume.
ENV SPECKTRACK_CACHE=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /cache

# 5555 frames in, 5556 results out, 5557 control; the default configuration listens on the loopback only.
CMD ["rt-serve", "--help"]
