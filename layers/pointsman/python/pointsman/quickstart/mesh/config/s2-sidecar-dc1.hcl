# The sidecar of s2 in dc1. It listens on 127.0.0.1:24207, ends the mutual TLS, and passes on to s2 itself.
Datacenter = "dc1"
Node       = "node-dc1"
Address    = "127.0.0.1"
Service = {
  Kind    = "connect-proxy"
  Service = "s2-sidecar-proxy"
  ID      = "s2-sidecar"
  Port    = 24207
  Proxy = {
    DestinationServiceName = "s2"
    LocalServiceAddress    = "127.0.0.1"
    LocalServicePort       = 24206
  }
}
