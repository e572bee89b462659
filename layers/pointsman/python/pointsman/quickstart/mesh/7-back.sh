#!/bin/sh
# Step 7: s2 comes back in dc1. When it can serve, Pointsman is told, and moves the traffic back.
set -eu
. "$(dirname "$0")/mesh.sh"

service dc1 127.0.0.1
sidecar s2 dc1 127.0.0.1 24208
tell s2-dc1-passing
show pointsman status --store pointsman.db
echo "ask s2 again with ./5-ask.sh"
