# A caller of s2 gets the instances of its own datacenter. If none is healthy there, dc2 takes over.
Kind = "service-resolver"
Name = "s2"
Failover = {
  "*" = {
    Datacenters = ["dc2"]
  }
}
