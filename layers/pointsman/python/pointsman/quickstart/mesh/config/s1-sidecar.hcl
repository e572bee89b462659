# The sidecar of s1, the caller. It takes what s1 sends to 127.0.0.1:24200, and brings it to s2.
Datacenter = "dc1"
Node       = "node-dc1"
Address    = "127.0.0.1"
Service = {
  Kind    = "connect-proxy"
  Service = "s1-sidecar-proxy"
  ID      = "s1-sidecar"
  Port    = 24204
  Proxy = {
    DestinationServiceName = "s1"
    LocalServicePort       = 24205
    Upstreams = [
      { DestinationName = "s2", LocalBindPort = 24200 }
    ]
  }
}
