"""A real Kubernetes on this machine: kind where Docker can pull images, else from Go modules and Debian packages."""
