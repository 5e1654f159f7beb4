package main

import (
	"fmt"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func dns(corefile string) {
	dnsserver.Directives = []string{"bind", "health", "ready", "errors", "cache", "kubernetes", "forward"}
	caddy.Quiet = true
	caddy.TrapSignals()
	text, err := os.ReadFile(corefile)
	if err == nil {
		var in *caddy.Instance
		in, err = caddy.Start(caddy.CaddyfileInput{Filepath: corefile, Contents: text, ServerTypeName: "dns"})
		if err == nil {
			in.Wait()
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
