#!/bin/sh
# End everything that the scripts have started. The store and the logs stay; rm -r removes the directory.
set -eu
. "$(dirname "$0")/mesh.sh"

for pid in run/*.pid; do
    [ -e "$pid" ] || continue
    name=$(basename "$pid" .pid)
    end "$name" TERM
done
