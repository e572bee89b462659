#!/bin/sh
# Step 5: be s1 and ask s2, through s1's sidecar. The second command asks the mesh gateway of dc2 how many connections
# it has passed on to s2.
set -eu
. "$(dirname "$0")/mesh.sh"

tries=5
until show curl -sS --max-time 5 http://127.0.0.1:24200/; do
    tries=$((tries - 1))
    [ $tries -ne 0 ] || fail "no answer; \`pointsman status --store pointsman.db\` says where the traffic of s2 goes"
    sleep 1
done
show curl -sS 'http://127.0.0.2:24210/stats?filter=^cluster\.s2\..*\.upstream_cx_total$'
echo
