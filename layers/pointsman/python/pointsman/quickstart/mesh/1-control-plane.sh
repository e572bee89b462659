#!/bin/sh
# Step 1: start Pointsman. It takes health events at 127.0.0.1:24201, serves Envoys over gRPC at 127.0.0.1:24202, and
# keeps everything in pointsman.db.
set -eu
. "$(dirname "$0")/mesh.sh"
need pointsman "activate the environment that it is installed in"
need curl "install it; the scripts ask with it whether what they started is ready"

start pointsman http://127.0.0.1:24201/readyz \
    pointsman up --store pointsman.db --trust-domain mesh.example --listen 127.0.0.1:24201 --grpc 127.0.0.1:24202
echo "Pointsman is ready"
