# The sidecar of s2 in dc2. It listens on 127.0.0.2:24207, ends the mutual TLS, and passes on to s2 itself.
Datacenter = "dc2"
Node       = "node-dc2"
Address    = "127.0.0.2"
Service = {
  Kind    = "connect-proxy"
  Service = "s2-sidecar-proxy"
  ID      = "s2-sidecar"
  Port    = 24207
  Proxy = {
    DestinationServiceName = "s2"
    LocalServiceAddress    = "127.0.0.2"
    LocalServicePort       = 24206
  }
}
