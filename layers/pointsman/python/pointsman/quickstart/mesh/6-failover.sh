#!/bin/sh
# Step 6: s2 dies in dc1, and its sidecar with it. Pointsman is told, and moves the traffic to dc2.
set -eu
. "$(dirname "$0")/mesh.sh"

end s2-dc1 KILL
end s2-sidecar-dc1 KILL
tell s2-dc1-critical
show pointsman status --store pointsman.db
echo "ask s2 again with ./5-ask.sh"
