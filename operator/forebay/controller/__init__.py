"""What changes the cluster: observe, plan, execute, report, for one fleet (namespace) at a time."""
