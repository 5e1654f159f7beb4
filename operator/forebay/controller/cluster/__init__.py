"""What touches the cluster: the Kubernetes API and the operator's copy of it, the lease, reports, ports."""
