# For the whole mesh: traffic to another datacenter goes straight to that datacenter's mesh gateways.
# With "local" it would go through those of its own datacenter first, which then have to be there, too.
Kind = "proxy-defaults"
Name = "global"
MeshGateway = {
  Mode = "remote"
}
