package share

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"sheaf/nfsd"
)

// defaultExport is what this host may do where nothing is exported: everything but
// act as root, from any port, since an ordinary user's client has no other.
const defaultExport = "(rw,root_squash,insecure)"

// CheckExports finds mistakes in the exports of c. Names of hosts are resolved.
func (c *Config) CheckExports(ctx context.Context) error {
	_, err := parseExports(ctx, c)
	return err
}

// parseExports reads the exports of cfg.
func parseExports(ctx context.Context, cfg *Config) (*nfsd.Exports, error) {
	lines := cfg.Exports
	if len(lines) == 0 {
		lines = []string{thisHost(cfg.Listen)}
	}
	for _, l := range lines {
		if strings.Contains(l, "\n") {
			return nil, &ConfigError{Key: "exports", Problem: fmt.Sprintf("%q has several lines", l), Do: "make each an entry of its own"}
		}
	}
	x, err := nfsd.ParseExports(ctx, strings.Join(lines, "\n"), net.DefaultResolver)
	if err != nil {
		return nil, &ConfigError{Key: "exports", Problem: err.Error()}
	}
	return x, nil
}

// thisHost exports everything to this host: the loopback addresses, and those that a
// client here has when it asks for an address on which the share listens.
func thisHost(listen string) string {
	clients := []string{"127.0.0.0/8", "::1"}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		host = listen
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && !ip.IsUnspecified():
		clients = append(clients, own(ip)...)
	case err == nil || host == "":
		clients = append(clients, ownAddresses()...)
	}
	return "/ " + strings.Join(clients, defaultExport+" ") + defaultExport
}

// own is ip as a client of the grammar, unless it is loopback, which is there already.
func own(ip netip.Addr) []string {
	if ip = ip.Unmap().WithZone(""); ip.IsLoopback() {
		return nil
	}
	return []string{ip.String()}
}

// ownAddresses are the addresses of this host's interfaces; none where the host does
// not tell.
func ownAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var all []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, own(p.Addr())...)
		}
	}
	return all
}
