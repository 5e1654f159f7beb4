"""kubeconform, kube-score and checkov: their install into the cache folder, and what they find in manifests."""
