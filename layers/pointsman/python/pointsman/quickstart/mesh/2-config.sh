#!/bin/sh
# Step 2: say what the mesh looks like. The files in config/ are one batch: all of them are taken, or none.
set -eu
. "$(dirname "$0")/mesh.sh"

show pointsman apply --store pointsman.db config/*.hcl
