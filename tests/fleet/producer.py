"""A source with a lease that says nothing but that it is alive, at every third of it, until it is killed."""

import argparse
import json
import sys
import time
import urllib.request


def main() -> None:
    """Tell `up` at `--url` again and again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--dc", required=True)
    parser.add_argument("--lease-s", type=int, required=True)
    arguments = parser.parse_args()
    said = {"Source": arguments.source, "Datacenter": arguments.dc, "Lease": f"{arguments.lease_s}s"}
    while True:
        event = {"detail-type": "Source Alive", "detail": said | {"Index": time.time_ns() // 1_000_000}}
        request = urllib.request.Request(f"{arguments.url}/v1/events", json.dumps(event).encode())
        request.add_header("content-type", "application/json")
        try:
            urllib.request.urlopen(request, timeout=arguments.lease_s).close()
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(arguments.lease_s / 3)


if __name__ == "__main__":
    main()
