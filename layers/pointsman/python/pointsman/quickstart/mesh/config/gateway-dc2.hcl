# The mesh gateway of dc2. It reads the server name of a TLS connection and passes the connection on to
# an instance of that service. It has no certificate and sees nothing of what is inside. "wan" is where
# other datacenters find it.
Datacenter = "dc2"
Node       = "node-dc2"
Address    = "127.0.0.2"
Service = {
  Kind    = "mesh-gateway"
  Service = "mesh-gateway"
  ID      = "gateway-dc2"
  Port    = 24209
  TaggedAddresses = {
    wan = { Address = "127.0.0.2", Port = 24209 }
  }
}
